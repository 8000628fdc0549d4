import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';
import http2 from 'node:http2';
import https from 'node:https';
import net from 'node:net';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';
import tls from 'node:tls';
import { SkerryError } from '../errors/skerry-error.ts';
import { createLogger } from '../telemetry/logger.ts';
import { classify } from './first-bytes.ts';
import { type ListenerOptions, listen } from './listener.ts';
import { createPort, type Port, type PortOptions, type RequestListener } from './port.ts';
import { routeRequests } from './routes.ts';
import { makeCertificate } from './testing/certificate.ts';
import { isEncrypted, TUNNEL_PROTOCOL } from './tunnel.ts';

const logger = createLogger('silent');
const tlsFiles = await makeCertificate();

const echo: RequestListener = (request, response) => {
  text(request).then(
    (body) => response.end(`${request.httpVersion} ${request.url} ${body}`),
    () => response.destroy(),
  );
};

async function withPort(
  options: Partial<PortOptions> & Partial<Pick<ListenerOptions, 'port' | 'maxConnections'>>,
  use: (port: number, opened: Port) => Promise<void>,
): Promise<void> {
  const { port = 0, maxConnections } = options;
  const opened = createPort({
    listener: await listen({ host: '127.0.0.1', port, maxConnections }),
    tls: tlsFiles,
    plaintextFrom: 'anywhere',
    onRequest: echo,
    onUpgrade: (_request, socket) => socket.destroy(),
    logger,
    ...options,
  });
  try {
    await use(opened.address.port, opened);
  } finally {
    await opened.close(0);
  }
}

async function http2Get(session: http2.ClientHttp2Session, path: string): Promise<string> {
  try {
    const stream = session.request({ ':path': path, ':method': 'POST' });
    stream.end('body');
    return await text(stream);
  } finally {
    session.close();
  }
}

function viaHttp(module: typeof http | typeof https, port: number, path: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const request = module.request(
      { host: '127.0.0.1', port, path, method: 'POST', rejectUnauthorized: false, agent: false },
      (response) => resolve(text(response)),
    );
    request.on('error', reject);
    request.end('body');
  });
}

test('first bytes tell the protocol, and a beginning that fits two asks for more', () => {
  assert.equal(classify(Buffer.from([0x16, 3, 1])), 'tls');
  assert.equal(classify(Buffer.from('P')), undefined);
  assert.equal(classify(Buffer.from('PRI * HTTP/2')), undefined);
  assert.equal(classify(Buffer.from('PRI * HTTP/2.0\r\n')), 'http2');
  assert.equal(classify(Buffer.from('PO')), 'http1');
  assert.equal(classify(Buffer.from('GET / HTTP/1.1')), 'http1');
  assert.equal(classify(Buffer.alloc(0)), undefined);
});

test('one port answers HTTP/1.1 and HTTP/2, each with and without TLS', () =>
  withPort({}, async (port) => {
    assert.equal(await viaHttp(http, port, '/a'), '1.1 /a body');
    assert.equal(await viaHttp(https, port, '/b'), '1.1 /b body');
    assert.equal(await http2Get(http2.connect(`http://127.0.0.1:${port}`), '/c'), '2.0 /c body');
    const secure = http2.connect(`https://127.0.0.1:${port}`, { rejectUnauthorized: false });
    assert.equal(await http2Get(secure, '/d'), '2.0 /d body');
  }));

test('TLS without ALPN, as the Python client offers it, can speak HTTP/2 and HTTP/1.1', () =>
  withPort({}, async (port) => {
    const connect = async () => {
      const socket = tls.connect({ host: '127.0.0.1', port, rejectUnauthorized: false });
      await once(socket, 'secureConnect');
      assert.equal(socket.alpnProtocol, false);
      return socket;
    };
    const socket = await connect();
    const session = http2.connect(`https://127.0.0.1:${port}`, { createConnection: () => socket });
    assert.equal(await http2Get(session, '/e'), '2.0 /e body');
    const plain = await connect();
    plain.write('GET /f HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
    assert.match(await text(plain), /1\.1 \/f/);
  }));

test('a request that arrives byte by byte is understood', () =>
  withPort({}, async (port) => {
    const socket = net.connect({ host: '127.0.0.1', port, noDelay: true });
    for (const byte of 'POST /slow HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok') {
      socket.write(byte);
      await new Promise(setImmediate);
    }
    assert.match(await text(socket), /1\.1 \/slow ok$/);
  }));

test('a silent connection, a dribbled header and a stalled body are cut', () =>
  withPort({ firstBytesTimeoutMs: 20, headerTimeoutMs: 30, bodyIdleTimeoutMs: 30 }, async (port) => {
    for (const opening of [
      '',
      'P',
      'POST / HTTP/1.1\r\nHost',
      'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nstill',
    ]) {
      const socket = net.connect({ host: '127.0.0.1', port });
      socket.on('error', () => {}); // a reset is as good as an end
      socket.write(opening);
      await once(socket.resume(), 'close');
    }
  }));

test('a websocket upgrade goes to its listener; an h2c upgrade is answered as the request it is', () =>
  withPort({ onUpgrade: (_request, socket) => socket.end('HTTP/1.1 101 upgraded\r\n\r\n') }, async (port) => {
    const ask = (protocol: string) => {
      const socket = net.connect({ host: '127.0.0.1', port });
      socket.write(
        `GET /up HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, close\r\nUpgrade: ${protocol}\r\n\r\n`,
      );
      return text(socket);
    };
    assert.match(await ask('websocket'), /^HTTP\/1\.1 101/);
    assert.match(await ask('h2c'), /^HTTP\/1\.1 200/);
  }));

test('the peer going away at any point does no harm', () =>
  withPort({}, async (port) => {
    for (const opening of [
      '',
      'P',
      'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
      '\x16\x03\x01',
      'GET / HTTP/1.1\r\n',
    ]) {
      const socket = net.connect({ host: '127.0.0.1', port });
      await once(socket, 'connect');
      socket.on('error', () => {});
      socket.write(opening, () => socket.resetAndDestroy());
      await once(socket, 'close');
    }
    assert.equal(await viaHttp(http, port, '/alive'), '1.1 /alive body');
  }));

test('closing lets running requests finish and ends idle connections', async () => {
  const arrived = Promise.withResolvers<void>();
  const release = Promise.withResolvers<void>();
  const onRequest: RequestListener = (_request, response) => {
    arrived.resolve();
    void release.promise.then(() => response.end('finished'));
  };
  await withPort({ onRequest }, async (port, opened) => {
    const idle = net.connect({ host: '127.0.0.1', port });
    idle.write('GE');
    const session = http2.connect(`http://127.0.0.1:${port}`);
    const running = http2Get(session, '/long');
    const over1 = viaHttp(http, port, '/long');
    await arrived.promise;
    const closed = opened.close(60_000);
    await assert.rejects(viaHttp(http, port, '/late'), { code: 'ECONNREFUSED' });
    release.resolve();
    assert.equal(await running, 'finished');
    assert.equal(await over1, 'finished');
    idle.destroy();
    await closed;
  });
});

test('closing cuts what outlasts the grace period', async () => {
  const arrived = Promise.withResolvers<void>();
  await withPort({ onRequest: () => arrived.resolve() }, async (port, opened) => {
    const request = assert.rejects(viaHttp(http, port, '/never'));
    await arrived.promise;
    await opened.close(1);
    await request;
  });
});

test('a port in use is said to be in use, with what to change', () =>
  withPort({}, async (port) => {
    await assert.rejects(
      withPort({ port }, async () => {}),
      (error) => {
        assert.ok(error instanceof SkerryError);
        assert.match(error.message, new RegExp(`Port ${port} .*--port`));
        return true;
      },
    );
  }));

test('routes: the longest prefix wins, at path boundaries; failures give no details away', async () => {
  const answer = (body: string) => (_request: unknown, response: { end(body: string): unknown }) =>
    void response.end(body);
  const onRequest = routeRequests({
    rpc: { owns: ({ url }) => url === '/rpc', handle: answer('rpc') },
    routes: [
      { prefix: '/', handle: answer('web') },
      { prefix: '/v1', handle: answer('rest') },
      { prefix: '/v1/files/', handle: answer('files') },
      {
        prefix: '/broken',
        handle: async () => {
          throw new Error('secret detail');
        },
      },
    ],
    logger,
  });
  await withPort({ onRequest }, async (port) => {
    assert.equal(await viaHttp(http, port, '/rpc'), 'rpc');
    assert.equal(await viaHttp(http, port, '/v1?x=/v1/files'), 'rest');
    assert.equal(await viaHttp(http, port, '/v1/files/a'), 'files');
    assert.equal(await viaHttp(http, port, '/v10'), 'web');
    assert.doesNotMatch(await viaHttp(http, port, '/broken'), /secret detail/);
  });
});

test("a tunnel carries what a client of this machine could say, TLS included, and its TLS is not the client's", () => {
  const onRequest: RequestListener = (request, response) => {
    response.end(`${request.httpVersion} ${isEncrypted(request)}`);
  };
  return withPort({ onRequest, plaintextFrom: 'machine' }, async (port) => {
    const tunnel = async () => {
      const socket = tls.connect({ port, ALPNProtocols: [TUNNEL_PROTOCOL], rejectUnauthorized: false });
      await once(socket, 'secureConnect');
      assert.equal(socket.alpnProtocol, TUNNEL_PROTOCOL);
      return socket;
    };
    const within = async (options: tls.ConnectionOptions) => {
      const socket = tls.connect({ ...options, socket: await tunnel(), rejectUnauthorized: false });
      await once(socket, 'secureConnect');
      return socket;
    };
    const overHttp1 = async (socket: net.Socket) =>
      text(
        await new Promise<http.IncomingMessage>((resolve, reject) => {
          http.get({ createConnection: () => socket }, resolve).on('error', reject);
        }),
      );
    const overHttp2 = (socket: net.Socket) =>
      http2Get(http2.connect('http://localhost', { createConnection: () => socket }), '/');
    assert.equal(await overHttp1(await tunnel()), '1.1 false');
    assert.equal(await overHttp2(await tunnel()), '2.0 false');
    assert.equal(await overHttp1(await within({})), '1.1 true');
    assert.equal(await overHttp2(await within({})), '2.0 true');
    assert.equal(await overHttp2(await within({ ALPNProtocols: ['h2'] })), '2.0 true');
  });
});

test('only TLS of a tunnel may hold TLS', () =>
  withPort({}, async (port) => {
    const outer = tls.connect({ port, rejectUnauthorized: false });
    await once(outer, 'secureConnect');
    const inner = tls.connect({ socket: outer, rejectUnauthorized: false });
    await assert.rejects(once(inner, 'secureConnect'));
  }));

test('a certificate that is changed is shown to the next connection', () =>
  withPort({}, async (port, opened) => {
    const shown = async () => {
      const socket = tls.connect({ port, rejectUnauthorized: false });
      await once(socket, 'secureConnect');
      const { fingerprint256 } = socket.getPeerCertificate();
      socket.destroy();
      return fingerprint256;
    };
    const before = await shown();
    opened.useCertificate(await makeCertificate());
    assert.notEqual(await shown(), before);
  }));
