import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import http from 'node:http';
import net, { type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { buffer, text } from 'node:stream/consumers';
import { after, before, describe, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import tls, { type TLSSocket } from 'node:tls';
import { type Certificate, loadCertificate } from '../../server/src/transport/certificate.ts';
import { ConnectError } from './connect-error.ts';
import { parseFingerprint, parseServer, type Target } from './server-link.ts';
import { greet, readToken } from './token.ts';
import { openTunnel, type Tunnel, type TunnelOptions } from './tunnel.ts';

const token = { tokenId: 'ak-1', tokenSecret: 'as-1' };

describe('skerry connect', () => {
  let dataDir: string;
  let certificate: Certificate;
  before(async () => {
    dataDir = await mkdtemp(join(tmpdir(), 'connect-test-'));
    certificate = await loadCertificate({ dataDir, certFile: '', keyFile: '', names: [], now: Date.now });
  });
  after(() => rm(dataDir, { recursive: true, force: true }));

  /** A server that speaks the tunnel's TLS and whatever `onLink` makes of it. */
  async function serve(onLink: (link: TLSSocket) => void, { port = 0, alpn = ['skerry-connect'] } = {}) {
    const { cert, key } = certificate;
    const server = tls.createServer({ cert, key, ALPNProtocols: alpn, allowHalfOpen: true }, onLink);
    const sockets = new Set<Socket>();
    server.on('connection', (socket) => sockets.add(socket));
    server.on('tlsClientError', () => {});
    server.listen(port, '127.0.0.1');
    await once(server, 'listening');
    return {
      port: (server.address() as net.AddressInfo).port, // TCP, so it has a port
      async close() {
        const closed = once(server, 'close');
        server.close();
        for (const socket of sockets) socket.destroy();
        await closed;
      },
    };
  }

  const targetAt = (port: number, more: Partial<Target> = {}): Target => ({
    host: '127.0.0.1',
    port,
    fingerprint: certificate.fingerprint,
    ca: undefined,
    ...more,
  });

  async function withTunnel(
    target: Target,
    use: (tunnel: Tunnel, said: string[]) => Promise<void>,
    options: Partial<TunnelOptions> = {},
  ) {
    const said: string[] = [];
    const tunnel = await openTunnel({ target, port: 0, say: (line) => said.push(line), ...options });
    try {
      await use(tunnel, said);
    } finally {
      await tunnel.close();
    }
  }

  const dial = (tunnel: Tunnel) => net.connect({ port: tunnel.port, host: '127.0.0.1', allowHalfOpen: true });

  /** Resolves when the other side ended or broke the connection. */
  const cutOff = (socket: Socket) =>
    new Promise<void>((resolve) => {
      for (const event of ['end', 'close']) socket.once(event, () => resolve());
      socket.resume();
    });

  test('carries bytes both ways, and the end of each direction by itself', async () => {
    const server = await serve(async (link) => {
      const received = await buffer(link); // until the client ends its direction; ours is still open
      link.end(Buffer.concat([Buffer.from(`${received.length} `), received]));
    });
    try {
      await withTunnel(targetAt(server.port), async (tunnel) => {
        const sent = Buffer.alloc(3 << 20, 'x');
        const client = dial(tunnel);
        client.end(sent);
        const answer = await buffer(client);
        assert.equal(answer.subarray(0, 8).toString(), `${sent.length} `);
        assert.equal(answer.length, sent.length + 8);
      });
    } finally {
      await server.close();
    }
  });

  test('the server may end first and still be written to', async () => {
    const received = Promise.withResolvers<string>();
    const server = await serve((link) => {
      link.end('bye');
      received.resolve(text(link));
    });
    try {
      await withTunnel(targetAt(server.port), async (tunnel) => {
        const client = dial(tunnel);
        assert.equal(await text(client), 'bye');
        client.end('late words');
        assert.equal(await received.promise, 'late words');
      });
    } finally {
      await server.close();
    }
  });

  test('a reader that stops holds the writer back', async () => {
    const started = Promise.withResolvers<TLSSocket>();
    const server = await serve((link) => started.resolve(link.pause()));
    try {
      await withTunnel(targetAt(server.port), async (tunnel) => {
        const client = dial(tunnel);
        const chunk = Buffer.alloc(1 << 20);
        const limit = 256; // MiB; kernel and TLS take a few
        let written = 0;
        const goesOn = async () => {
          written++;
          if (client.write(chunk)) return true;
          const drained = once(client, 'drain').then(() => true);
          return Promise.race([drained, delay(500, false)]);
        };
        while (written < limit && (await goesOn()));
        assert.ok(written < limit, 'the writer was held back');
        const link = await started.promise;
        let read = 0;
        link.on('data', (data: Buffer) => {
          read += data.length;
        });
        link.resume();
        client.end();
        await once(link, 'end');
        assert.equal(read, written << 20);
        link.end();
      });
    } finally {
      await server.close();
    }
  });

  test('a connection that breaks on one side breaks on the other', async () => {
    const links: TLSSocket[] = [];
    const server = await serve((link) => links.push(link.resume()));
    try {
      await withTunnel(targetAt(server.port), async (tunnel) => {
        const client = dial(tunnel);
        client.write('x');
        while (links.length === 0) await new Promise((resolve) => setImmediate(resolve));
        const cut = cutOff(links[0] as TLSSocket); // there is one by now
        client.resetAndDestroy();
        await cut;
        const second = dial(tunnel).on('error', () => {});
        second.write('x');
        while (links.length === 1) await new Promise((resolve) => setImmediate(resolve));
        links[1]?.destroy();
        await cutOff(second);
      });
    } finally {
      await server.close();
    }
  });

  test('waits for a server that is away, and says so once', async () => {
    const gone = await serve(() => {});
    const { port } = gone;
    await gone.close();
    await withTunnel(targetAt(port), async (tunnel) => {
      const waiting = [dial(tunnel), dial(tunnel)];
      for (const client of waiting) client.end('hello');
      const server = await serve((link) => link.pipe(link), { port });
      try {
        for (const client of waiting) assert.equal(await text(client), 'hello');
      } finally {
        await server.close();
      }
    });
    await withTunnel(
      targetAt(port),
      async (tunnel, said) => {
        for (let count = 0; count < 2; count++) {
          const client = dial(tunnel).on('error', () => {});
          await cutOff(client);
        }
        assert.equal(said.length, 1);
        assert.match(said[0] ?? '', /Nothing listens at 127\.0\.0\.1:\d+\..*skerry up --host/);
      },
      { patienceMs: 200 },
    );
  });

  test('sends nothing to a server with another key, and names both fingerprints', async () => {
    let received = 0;
    const server = await serve((link) => {
      link.on('data', (data: Buffer) => {
        received += data.length;
      });
      link.on('error', () => {});
    });
    const other = `sha256:${'0'.repeat(64)}`;
    try {
      const target = targetAt(server.port, { fingerprint: other });
      await assert.rejects(greet(target, token), (error) => {
        assert.ok(error instanceof ConnectError && !error.passing);
        assert.ok(error.message.includes(other) && error.message.includes(certificate.fingerprint));
        return true;
      });
      await withTunnel(target, async (tunnel, said) => {
        const client = dial(tunnel).on('error', () => {});
        client.write('secret');
        await cutOff(client);
        assert.match(said[0] ?? '', /another fingerprint/);
      });
      assert.equal(received, 0);
    } finally {
      await server.close();
    }
  });

  test('without a fingerprint the certificate must be trusted, and be one of the name that is dialled', async () => {
    const server = await serve((link) => link.on('error', () => {}).end('HTTP/1.1 401 No\r\n\r\n'));
    try {
      const target = targetAt(server.port, { fingerprint: undefined });
      await assert.rejects(greet(target, token), /not trusted here.*\n.*--fingerprint/);
      const ca = certificate.cert;
      await assert.rejects(greet({ ...target, ca }, token), /does not know this token/);
      await assert.rejects(
        greet({ ...target, ca, host: '127.0.0.2' }, token),
        /Nothing listens|cannot be reached/,
      );
    } finally {
      await server.close();
    }
  });

  test('says what is no Skerry server', async () => {
    const plain = http.createServer((_request, response) => response.end('hello'));
    plain.listen(0, '127.0.0.1');
    await once(plain, 'listening');
    const web = await serve((link) => link.on('error', () => {}), { alpn: ['h2', 'http/1.1'] });
    try {
      const at = (port: number) => greet(targetAt(port), token);
      await assert.rejects(at((plain.address() as net.AddressInfo).port), /not a Skerry server/);
      await assert.rejects(at(web.port), /not a Skerry server/);
    } finally {
      plain.close();
      await web.close();
    }
    const strange = await serve((link) => link.on('error', () => {}).end('HTTP/1.1 200 OK\r\n\r\nhello'));
    try {
      await assert.rejects(greet(targetAt(strange.port), token), /answered strangely/);
    } finally {
      await strange.close();
    }
    await assert.rejects(
      greet(targetAt(1, { host: 'no-such-host.invalid' }), token),
      /cannot be resolved|name/,
    );
  });

  test('holds no more connections than it may', async () => {
    const server = await serve((link) => link.pipe(link).on('error', () => {}));
    try {
      await withTunnel(
        targetAt(server.port),
        async (tunnel) => {
          const first = dial(tunnel);
          first.write('x');
          await once(first, 'data');
          const second = dial(tunnel).on('error', () => {});
          await cutOff(second);
          first.end();
        },
        { maxConnections: 1 },
      );
    } finally {
      await server.close();
    }
  });

  test('takes the token from a file, standard input or the environment, and nothing that is none', async () => {
    const file = join(dataDir, 'token');
    await writeFile(file, 'ak-a:as-b\n');
    const none = Readable.from([]);
    const expected = { tokenId: 'ak-a', tokenSecret: 'as-b' };
    assert.deepEqual(await readToken(file, { SKERRY_TOKEN: 'ak-x:as-y' }, none), expected);
    assert.deepEqual(await readToken('-', {}, Readable.from(['ak-a:', 'as-b\n'])), expected);
    assert.deepEqual(await readToken(undefined, { SKERRY_TOKEN: 'ak-a:as-b' }, none), expected);
    const variables = { MODAL_TOKEN_ID: 'ak-a', MODAL_TOKEN_SECRET: 'as-b' };
    assert.deepEqual(await readToken(undefined, variables, none), expected);
    await writeFile(file, JSON.stringify({ ...expected, apiKey: 'sk-c' }));
    assert.deepEqual(await readToken(file, {}, none), expected);
    await assert.rejects(readToken(undefined, {}, none), /SKERRY_TOKEN.*--token-file/);
    await assert.rejects(readToken(undefined, { SKERRY_TOKEN: 'ak-a' }, none), /SKERRY_TOKEN holds no token/);
    await assert.rejects(readToken(join(dataDir, 'none'), {}, none), /cannot be read/);
    await assert.rejects(readToken('-', {}, Readable.from(['ak-a:as-b\r\nx: y'])), /holds no token/);
  });

  test('reads what is given as server and fingerprint', () => {
    assert.deepEqual(parseServer('https://lab.example.com:7423'), { host: 'lab.example.com', port: 7423 });
    assert.deepEqual(parseServer('lab:7423'), { host: 'lab', port: 7423 });
    assert.deepEqual(parseServer('https://[2001:db8::1]:1'), { host: '2001:db8::1', port: 1 });
    assert.deepEqual(parseServer('https://lab/'), { host: 'lab', port: 443 });
    for (const bad of ['http://lab:7423', 'https://a:b@lab', 'https://lab/x', 'https://', 'lab:99999']) {
      assert.throws(() => parseServer(bad), ConnectError, bad);
    }
    const digits = 'AB'.repeat(32);
    assert.equal(parseFingerprint(` SHA256:${digits}\n`), `sha256:${digits.toLowerCase()}`);
    assert.throws(() => parseFingerprint(digits.slice(2)), /sha256: and 64/);
  });
});
