/** Who may speak to the port without TLS. */
import type { Socket } from 'node:net';
import type { WireProtocol } from './first-bytes.ts';

/** From where connections without TLS are taken: only from this machine, or also from others, for a port behind a proxy that ends TLS. */
export type PlaintextFrom = 'machine' | 'anywhere';

export const maySpeak = (socket: Socket, protocol: WireProtocol, plaintextFrom: PlaintextFrom): boolean =>
  protocol === 'tls' || plaintextFrom === 'anywhere' || isOwnMachine(socket);

/** Says why, to whom that can be said. */
export function refusePlaintext(socket: Socket, protocol: WireProtocol): void {
  if (protocol === 'http1') socket.end(REFUSED);
  else socket.destroy();
}

const REFUSED = [
  'HTTP/1.1 403 Forbidden',
  'Connection: close',
  'Content-Type: text/plain',
  '',
  'This port takes connections without TLS only from its own machine. Use https://.\n',
].join('\r\n');

/** Over the loopback interface: to one of its addresses, or from the machine's address to the same. Nobody else can complete such a connection. */
export function isOwnMachine({ remoteAddress, localAddress }: Socket): boolean {
  return (
    remoteAddress !== undefined &&
    (/^(::ffff:)?127\./.test(remoteAddress) || remoteAddress === '::1' || remoteAddress === localAddress)
  );
}
