import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { test } from 'node:test';
import { moduleProxies, newerGvisor } from './check-gvisor.ts';

const pinned = 'v0.0.0-20260905035102-160fafc42237';
const older = 'v0.0.0-20260413194555-9680d69bf798';
const newer = 'v0.0.0-20261101120000-0123456789ab';

/** A module proxy that answers these paths below the module and 404 for the rest. */
async function withProxy<T>(
  files: Readonly<Record<string, string>>,
  use: (url: string) => Promise<T>,
): Promise<T> {
  const server = createServer((request, response) => {
    const body = files[request.url?.replace('/gvisor.dev/gvisor/@v/', '') ?? ''];
    response.writeHead(body === undefined ? 404 : 200).end(body);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  try {
    return await use(typeof address === 'object' ? `http://127.0.0.1:${address?.port}` : '');
  } finally {
    server.close();
  }
}

test('a newer version is named, whichever of the two ways the proxy tells it', async () => {
  const byBranch = { 'go.info': JSON.stringify({ Version: newer }), list: `${older}\n` };
  const byList = { list: `${older}\n${newer}\n${pinned}\n` };
  for (const files of [byBranch, byList]) {
    assert.deepEqual(await withProxy(files, (url) => newerGvisor(`${url},direct`, pinned)), {
      kind: 'newer',
      version: newer,
    });
  }
});

test('the pinned one is the newest when only older ones are served', async () => {
  const answer = await withProxy({ list: `${older}\n${pinned}\nv1.0.0\nnonsense\n` }, (url) =>
    newerGvisor(url, pinned),
  );
  assert.deepEqual(answer, { kind: 'newest' });
});

test('when it cannot be told the answer says why, and the next proxy is asked first', async () => {
  const unknown = await withProxy({}, (url) => newerGvisor(url, pinned));
  assert.equal(unknown.kind, 'unknown');
  assert.match(unknown.kind === 'unknown' ? unknown.why : '', /answers 404 for go\.info; .*for list/);
  assert.deepEqual(await newerGvisor('off', pinned), {
    kind: 'unknown',
    why: 'GOPROXY names no module proxy',
  });
  await withProxy({}, (silent) =>
    withProxy({ list: newer }, async (url) => {
      assert.equal((await newerGvisor(`${silent}|${url}`, pinned)).kind, 'newer');
    }),
  );
});

test('proxies are read as Go reads GOPROXY', () => {
  assert.deepEqual(moduleProxies(undefined), ['https://proxy.golang.org']);
  assert.deepEqual(moduleProxies('https://a.example/go/|http://b.example,direct'), [
    'https://a.example/go',
    'http://b.example',
  ]);
});
