/**
 * Tells protocols apart by the first bytes of a connection, without consuming them: TLS, HTTP/2 with prior knowledge (what gRPC clients speak in
 * plaintext) and HTTP/1.1 share one port.
 */
import type { Socket } from 'node:net';

export type WireProtocol = 'tls' | 'http2' | 'http1';

/** Content type of a TLS handshake record, RFC 8446 section 5.1. */
const TLS_HANDSHAKE = 0x16;
/** Start of the HTTP/2 connection preface, RFC 9113 section 3.4. No HTTP/1.1 method is `PRI`. */
const HTTP2_PREFACE = Buffer.from('PRI * HTTP/2.0');

/** The protocol that starts with these bytes; undefined while more are needed to tell (a POST and the preface share their first letter). */
export function classify(head: Uint8Array): WireProtocol | undefined {
  if (head.length === 0) return undefined;
  if (head[0] === TLS_HANDSHAKE) return 'tls';
  const known = Math.min(head.length, HTTP2_PREFACE.length);
  if (HTTP2_PREFACE.compare(head, 0, known, 0, known) !== 0) return 'http1';
  return known === HTTP2_PREFACE.length ? 'http2' : undefined;
}

/**
 * Calls `onKnown` once the protocol is known, with every byte still (again) unread. A socket that stays silent for `timeoutMs`, ends or fails is
 * destroyed instead.
 */
export function sniff(socket: Socket, timeoutMs: number, onKnown: (protocol: WireProtocol) => void): void {
  let head: Buffer = Buffer.alloc(0);
  const stop = () => {
    clearTimeout(timer);
    socket.off('readable', onReadable);
    socket.off('end', giveUp);
    socket.off('error', giveUp);
    socket.off('close', stop);
  };
  const giveUp = () => {
    stop();
    socket.destroy();
  };
  const onReadable = () => {
    const chunk: Buffer | null = socket.read();
    if (chunk === null) return;
    head = head.length === 0 ? chunk : Buffer.concat([head, chunk]);
    const protocol = classify(head);
    if (protocol === undefined) return;
    stop();
    socket.unshift(head);
    onKnown(protocol);
  };
  const timer = setTimeout(giveUp, timeoutMs);
  socket.on('readable', onReadable);
  socket.on('end', giveUp);
  socket.on('error', giveUp);
  socket.on('close', stop);
}
