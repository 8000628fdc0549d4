/** Tells the client of a tunnel why it reaches nothing, if it speaks HTTP; who speaks anything else would take the text for an answer, and is cut off. */
import http2 from 'node:http2';
import type { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import { toSkerryError } from '../errors/skerry-error.ts';
import { sniff } from '../transport/first-bytes.ts';
import { cut } from './splice.ts';

export interface Refusal {
  /** HTTP. */
  readonly status: 404 | 502 | 503;
  /** One line. */
  readonly reason: string;
}

export const NO_SUCH_TUNNEL: Refusal = {
  status: 404,
  reason: 'There is no such tunnel, or its sandbox has ended.',
};

/** Most clients of HTTP have sent their request long before. */
const FIRST_BYTES_MS = 1_000;
/** For the answer to arrive before the connection is gone. */
const LINGER_MS = 5_000;
const STATUS_TEXT: Readonly<Record<Refusal['status'], string>> = {
  404: 'Not Found',
  502: 'Bad Gateway',
  503: 'Service Unavailable',
};

/** What a stranger is told of an error on the way into the sandbox. */
export function refusalOf(thrown: unknown): Refusal {
  const { code, message } = toSkerryError(thrown);
  switch (code) {
    case 'resource-exhausted':
      return { status: 503, reason: message };
    case 'internal':
      return { status: 502, reason: 'The sandbox cannot be reached.' };
    default:
      return { status: 502, reason: message };
  }
}

/** Answers and closes. */
export function refuse(client: Socket, refusal: Refusal): void {
  const timer = setTimeout(() => client.destroy(), FIRST_BYTES_MS + LINGER_MS);
  client.once('close', () => clearTimeout(timer));
  if (client instanceof TLSSocket && client.alpnProtocol === 'h2') {
    refuseHttp2(client, refusal);
    return;
  }
  sniff(client, FIRST_BYTES_MS, (protocol) => {
    if (protocol === 'http2') refuseHttp2(client, refusal);
    else refuseHttp1(client, refusal);
  });
}

function refuseHttp1(client: Socket, { status, reason }: Refusal): void {
  const head: Buffer | null = client.read();
  if (head === null || !/^[A-Z]{3,16} [^ ]/.test(head.toString('latin1', 0, 32))) {
    cut(client);
    return;
  }
  const body = `${reason}\n`;
  client.end(
    [
      `HTTP/1.1 ${status} ${STATUS_TEXT[status]}`,
      'Content-Type: text/plain; charset=utf-8',
      `Content-Length: ${Buffer.byteLength(body)}`,
      'Connection: close',
      '',
      body,
    ].join('\r\n'),
  );
  client.resume(); // closing with unread bytes would reset the connection before the answer is read
}

function refuseHttp2(client: Socket, { status, reason }: Refusal): void {
  const session = http2.performServerHandshake(client);
  session.on('error', () => client.destroy());
  session.on('stream', (stream) => {
    stream.on('error', () => {});
    stream.respond({ ':status': status, 'content-type': 'text/plain; charset=utf-8' });
    stream.end(`${reason}\n`);
    session.close();
  });
}
