/** Where the TLS of strangers ends: handshakes on sockets that somebody else accepted. */
import type { Socket } from 'node:net';
import tls, { type TLSSocket } from 'node:tls';
import type { Logger } from '../telemetry/logger.ts';

/** PEM certificate chain and key. */
export interface TlsFiles {
  readonly cert: string;
  readonly key: string;
}

export interface TlsDoorOptions {
  readonly tls: TlsFiles;
  /** Whether clients that ask for this name (undefined: for none) may speak HTTP/2. */
  readonly speaksHttp2: (serverName: string | undefined) => boolean;
  /** Has each connection once its handshake is done. */
  readonly onSecure: (socket: TLSSocket) => void;
  readonly logger: Pick<Logger, 'debug'>;
}

export interface TlsDoor {
  take(socket: Socket): void;
  /** For handshakes from now on. */
  useCertificate(tls: TlsFiles): void;
}

const HANDSHAKE_MS = 10_000;

export function createTlsDoor({ tls: files, speaksHttp2, onSecure, logger }: TlsDoorOptions): TlsDoor {
  const server = tls.createServer({
    ...files,
    minVersion: 'TLSv1.2',
    handshakeTimeout: HANDSHAKE_MS,
    // What is neither version of HTTP (a database's protocol, say) passes like what agrees on nothing.
    ALPNCallback: ({ servername, protocols }) => {
      const h2 = speaksHttp2(servername || undefined);
      const wanted = h2 ? ['h2', 'http/1.1'] : ['http/1.1'];
      return wanted.find((each) => protocols.includes(each)) ?? protocols.find((each) => each !== 'h2');
    },
  });
  server.on('secureConnection', (socket) => {
    socket.on('error', () => socket.destroy());
    onSecure(socket);
  });
  server.on('tlsClientError', (error, socket) => {
    logger.debug({ error: error.message, remote: socket.remoteAddress }, 'tunnel.handshake-failed');
    socket.destroy();
  });
  return {
    take: (socket) => void server.emit('connection', socket),
    useCertificate: (next) => server.setSecureContext({ ...next, minVersion: 'TLSv1.2' }),
  };
}
