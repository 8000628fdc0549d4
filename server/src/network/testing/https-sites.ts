/**
 * Sites of a test's internet that speak HTTPS, each at an address of its own: says as JSON what came with a request (`Said`), whatever is asked for but
 * `/download/BYTES`. A WebSocket gets back what it sends.
 *
 *   node https-sites.ts SITES
 *
 * Prints "ready" once all of them listen.
 */
import { once } from 'node:events';
import { createSecureServer, type Http2ServerRequest, type Http2ServerResponse } from 'node:http2';

export interface Site {
  readonly address: string;
  readonly cert: string;
  readonly key: string;
  readonly protocols: readonly ('h2' | 'http/1.1')[];
}

/** What came with a request. */
export interface Said {
  readonly site: string;
  readonly version: string;
  readonly method: string;
  readonly path: string;
  readonly host: string;
  readonly authorization: readonly string[];
  /** Names of all headers, sorted. */
  readonly headers: readonly string[];
  readonly bytes: number;
}

const CHUNK = Buffer.alloc(1 << 16, 'x');

async function download(response: Http2ServerResponse, bytes: number): Promise<void> {
  for (let sent = 0; sent < bytes; sent += CHUNK.length) {
    if (!response.write(CHUNK)) await once(response, 'drain');
  }
  response.end();
}

async function answer(request: Http2ServerRequest, response: Http2ServerResponse, site: string) {
  let bytes = 0;
  for await (const chunk of request) bytes += chunk.length;
  const path = request.url;
  const asked = /^\/download\/(\d+)$/.exec(path)?.[1];
  if (asked) return download(response, Number(asked));
  const { rawHeaders, headers, httpVersion: version, method, authority } = request;
  const names = rawHeaders.filter((_, index) => index % 2 === 0).map((name) => name.toLowerCase());
  const authorization = rawHeaders.filter((_, index) => names[(index - 1) / 2] === 'authorization');
  const said: Said = {
    ...{ site, version, method, path, bytes, authorization },
    host: authority || (headers.host ?? ''),
    headers: [...new Set(names)].sort(),
  };
  response.setHeader('alt-svc', 'h3=":443"');
  response.end(JSON.stringify(said));
}

const sites = JSON.parse(process.argv[2] ?? '') as readonly Site[]; // the test's own
await Promise.all(
  sites.map(async ({ address, cert, key, protocols }) => {
    const server = createSecureServer({ cert, key, allowHTTP1: true, ALPNProtocols: [...protocols] });
    server.on('request', (request, response) => {
      answer(request, response, address).catch(() => {}); // its client left
    });
    server.on('upgrade', (request, socket, head) => {
      socket.on('error', () => {});
      socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n');
      socket.write(`${request.headers.authorization}\n`);
      socket.write(head);
      socket.pipe(socket);
    });
    server.on('sessionError', () => {}).on('tlsClientError', () => {});
    server.listen(443, address);
    await once(server, 'listening');
  }),
);
process.stdout.write('ready\n');
