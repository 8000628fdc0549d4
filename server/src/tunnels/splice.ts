/** Joins a client of a tunnel and its server in the sandbox: bytes both ways, as fast as the slower side takes them, and nothing else. */
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { TLSSocket } from 'node:tls';

/** How long a connection whose server is done may carry nothing. */
const AFTER_END_MS = 60_000;

/**
 * Each side's end is passed on while the other direction goes on. A side that breaks has the other one broken, so that what was cut off does not look
 * complete: TLS without its closing alert, TCP with a reset.
 */
export function splice(client: Socket, server: Duplex): void {
  server.once('error', () => cut(client));
  server.once('end', () => client.setTimeout(Math.min(client.timeout ?? AFTER_END_MS, AFTER_END_MS)));
  client.once('close', () => {
    // One that is over on both sides ends by itself, once its program has taken everything.
    if (!(server.readableEnded && server.writableEnded)) server.destroy();
  });
  client.pipe(server);
  server.pipe(client);
}

/** Ends a connection so that its client sees that it was broken. */
export function cut(client: Socket): void {
  if (client instanceof TLSSocket) client.destroy();
  else client.resetAndDestroy();
}
