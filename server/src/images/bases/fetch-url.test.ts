/** What `ADD URL` fetches, and from where it must not. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer, type RequestListener } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { Cleanup } from '../../platform/cleanup.ts';
import { MachineRoom } from '../../platform/machine-room.ts';
import { fetchUrl } from './fetch-url.ts';
import { RegistryReach } from './registry-reach.ts';

describe('files of URLs', () => {
  const cleanup = new Cleanup();
  const signal = AbortSignal.timeout(60_000);
  let directory: string;
  let origin: string;
  let port: number;
  let count = 0;
  const handlers: Record<string, RequestListener> = {
    '/file': (_request, response) => response.end('content'),
    '/moved': (_request, response) => response.writeHead(302, { location: '/file' }).end(),
    '/loop': (_request, response) => response.writeHead(302, { location: '/loop' }).end(),
    '/inside': (_request, response) =>
      response.writeHead(302, { location: 'http://169.254.169.254/latest/meta-data' }).end(),
    '/by-name': (_request, response) =>
      response.writeHead(302, { location: `http://private.test:${port}/file` }).end(),
    '/to-a-file': (_request, response) => response.writeHead(302, { location: 'file:///etc/passwd' }).end(),
    '/endless': (_request, response) => {
      const more = () => {
        while (!response.destroyed && response.write(Buffer.alloc(64 << 10)));
      };
      response.on('drain', more);
      more();
    },
    '/cut': (_request, response) => {
      response.writeHead(200, { 'content-length': 100 }).write('some');
      response.destroy();
    },
  };

  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'skerry-url-'));
    cleanup.add('directory', () => rm(directory, { recursive: true, force: true }));
    const server = createServer((request, response) => {
      const handler = handlers[request.url ?? ''];
      if (handler) handler(request, response);
      else response.writeHead(404).end();
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    cleanup.add('server', () => {
      server.closeAllConnections();
      server.close();
    });
    const address = server.address();
    assert.ok(typeof address === 'object' && address);
    port = address.port;
    origin = `http://public.test:${port}`;
  });
  after(() => cleanup.run());

  /** Both names are this machine, of which one is allowed. */
  const get = (url: string, checksum?: string) => {
    const reach = new RegistryReach({
      named: [],
      allowed: ['public.test'],
      lookup: async () => [{ address: '127.0.0.1', family: 4 }],
    });
    const file = join(directory, String(++count));
    const fetched = fetchUrl(url, file, checksum, signal, {
      reach,
      maxBytes: 1 << 20,
      room: new MachineRoom('/'),
      timeoutMs: 30_000,
    });
    return fetched.then(async (digest) => ({ digest, text: await readFile(file, 'utf8') }));
  };

  it('are fetched, through redirects, and known by their digest', async () => {
    const digest = `sha256:${createHash('sha256').update('content').digest('hex')}`;
    assert.deepEqual(await get(`${origin}/file`), { digest, text: 'content' });
    assert.deepEqual(await get(`${origin}/moved`, digest), { digest, text: 'content' });
    await assert.rejects(
      get(`${origin}/file`, `sha256:${'0'.repeat(64)}`),
      /its checksum is sha256:[0-9a-f]+, not/,
    );
  });

  it('never come from where images may not, by whatever way it is named', async () => {
    for (const url of [
      `http://private.test:${port}/file`,
      `http://127.0.0.1:${port}/file`,
      `http://2130706433:${port}/file`,
      `http://[::1]:${port}/file`,
      `http://[::ffff:127.0.0.1]:${port}/file`,
      'http://169.254.169.254/',
      `${origin}/inside`,
      `${origin}/by-name`,
    ])
      await assert.rejects(get(url), /not a public address; files come from others only where/, url);
  });

  it('are bounded, and what is wrong is told', async () => {
    await assert.rejects(get(`${origin}/endless`), /more than 1 MiB/);
    await assert.rejects(get(`${origin}/missing`), /HTTP status 404/);
    await assert.rejects(get(`${origin}/loop`), /more than 10 times/);
    await assert.rejects(get(`${origin}/to-a-file`), /leads to file:/);
    await assert.rejects(get(`${origin}/cut`));
  });
});
