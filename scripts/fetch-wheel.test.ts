import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer, type RequestListener } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { run } from '../server/src/platform/command.ts';
import { locateFile, packageIndex } from './fetch-wheel.ts';

const directory = mkdtempSync(join(tmpdir(), 'fetch-wheel-'));
after(() => rmSync(directory, { recursive: true, force: true }));

async function serve<T>(listener: RequestListener, use: (origin: string) => Promise<T>): Promise<T> {
  const server = createServer(listener);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  try {
    return await use(`127.0.0.1:${typeof address === 'object' ? address?.port : ''}`);
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

/** An archive of `files` as a wheel is: made by the machine's own Python. */
async function makeWheel(): Promise<{ content: Buffer; sha256: string }> {
  const path = join(directory, 'made.whl');
  const script = `
import sys, zipfile
with zipfile.ZipFile(sys.argv[1], "w", zipfile.ZIP_DEFLATED) as wheel:
    for name, mode in [("tool/bin/run", 0o755), ("tool/VERSION", 0o644), ("tool-1.dist-info/RECORD", 0o644)]:
        info = zipfile.ZipInfo(name)
        info.external_attr = mode << 16
        info.compress_type = zipfile.ZIP_DEFLATED
        wheel.writestr(info, name)
`;
  await run(['python3', '-c', script, path]);
  const content = readFileSync(path);
  return { content, sha256: createHash('sha256').update(content).digest('hex') };
}

const program = fileURLToPath(new URL('fetch-wheel.ts', import.meta.url));
const fetchTool = (index: string, sha256: string, target: string) =>
  run([process.execPath, program, 'tool', 'tool-1.whl', sha256, 'tool/', target], {
    env: { PATH: process.env.PATH ?? '', HOME: directory, PIP_INDEX_URL: index },
    okCodes: [1],
  });

test('the folder of the wheel is unpacked with its programs, behind a password, from HTML or JSON', async () => {
  const { content, sha256 } = await makeWheel();
  for (const form of ['html', 'json']) {
    const listener: RequestListener = (request, response) => {
      if (request.headers.authorization !== `Basic ${Buffer.from('me:s cret').toString('base64')}`) {
        response.writeHead(401).end();
      } else if (request.url === '/simple/tool/') {
        const link = '../../files/tool-1.whl#sha256=0';
        const [type, page] =
          form === 'json'
            ? ['application/vnd.pypi.simple.v1+json', JSON.stringify({ files: [{ url: link }] })]
            : ['text/html', `<!DOCTYPE html><a data-x="1" href="${link}">tool-1.whl</a>`];
        response.writeHead(200, { 'content-type': type }).end(page);
      } else if (request.url === '/files/tool-1.whl') response.end(content);
      else response.writeHead(404).end();
    };
    const target = join(directory, form);
    const result = await serve(listener, (origin) =>
      fetchTool(`http://me:s%20cret@${origin}/simple/`, sha256, target),
    );
    assert.equal(result.code, 0, result.stderr);
    assert.match(result.stdout, /downloading/);
    assert.equal(readFileSync(join(target, 'VERSION'), 'utf8'), 'tool/VERSION');
    assert.equal(statSync(join(target, 'bin/run')).mode & 0o777, 0o755);
    assert.deepEqual(readdirSync(target).sort(), ['VERSION', 'bin']);
  }
});

test('another content than the one that is expected is not used, and leaves nothing', async () => {
  const { sha256 } = await makeWheel();
  const target = join(directory, 'wrong');
  const listener: RequestListener = (request, response) =>
    request.url === '/simple/tool/'
      ? response.writeHead(200, { 'content-type': 'text/html' }).end('<a href="/tool-1.whl">tool-1.whl</a>')
      : response.end('something else');
  const result = await serve(listener, (origin) => fetchTool(`http://${origin}/simple`, sha256, target));
  assert.equal(result.code, 1);
  assert.match(result.stderr, /sent a file with the SHA-256 [0-9a-f]{64} instead of/);
  assert.deepEqual(
    readdirSync(directory).filter((name) => name.startsWith('wrong')),
    [],
  );
});

test('an index without the file is said to be without it; a password goes to no other host', async () => {
  const listener: RequestListener = (_, response) =>
    response
      .writeHead(200, { 'content-type': 'text/html' })
      .end('<a href="https://files.example/tool-1.whl">tool-1.whl</a>');
  await serve(listener, async (origin) => {
    const index = `http://me:secret@${origin}/simple`;
    assert.equal((await locateFile(index, 'tool', 'tool-1.whl')).href, 'https://files.example/tool-1.whl');
    await assert.rejects(locateFile(index, 'tool', 'tool-2.whl'), { message: `${origin} has no tool-2.whl` });
  });
});

test('the index is the one that pip would ask', async () => {
  const config = join(directory, 'pip.conf');
  writeFileSync(config, '[global]\ntimeout = 5\nindex-url = https://mirror.example/simple/\n');
  const env = { HOME: directory, PIP_CONFIG_FILE: config };
  assert.equal(await packageIndex(env), 'https://mirror.example/simple');
  assert.equal(
    await packageIndex({ ...env, PIP_INDEX_URL: 'https://other.example/' }),
    'https://other.example',
  );
});
