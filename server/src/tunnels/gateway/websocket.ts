/** Websockets: nothing of what a client sends after its request goes to the program before that has agreed to speak the other protocol. */
import http, { type IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { SkerryError } from '../../errors/skerry-error.ts';
import { cut, splice } from '../splice.ts';
import { answerOf, type Exchange, open, pass } from './forward.ts';
import { requestFields, responseFields } from './headers.ts';

export interface Upgrade {
  readonly exchange: Exchange;
  /** For an answer that is none of a websocket. */
  readonly response: http.ServerResponse;
  /** The client's connection. */
  readonly socket: Socket;
  /** What it has sent already. */
  readonly head: Buffer;
  /** Into the sandbox. */
  readonly connection: Duplex;
  /** How long it may carry nothing, in either direction. */
  readonly idleMs: number;
  /** Ends it: the client is gone. */
  readonly signal: AbortSignal;
}

/** An ordinary answer to a request that asked for an upgrade; the connection ends with it. */
export function responseOn(request: IncomingMessage, socket: Socket): http.ServerResponse {
  const response = new http.ServerResponse(request);
  response.shouldKeepAlive = false;
  response.assignSocket(socket);
  response.once('finish', () => socket.end());
  return response;
}

/** Resolves when both sides have closed it. @throws SkerryError `connection-refused` when the program breaks off, or does not speak HTTP */
export async function upgrade(parts: Upgrade): Promise<void> {
  const { exchange, response, socket, head, connection, idleMs, signal } = parts;
  const fields = [
    ...requestFields(exchange.asked),
    ['Connection', 'Upgrade'] as const,
    ['Upgrade', 'websocket'] as const,
  ];
  const outgoing = open(exchange, fields, connection, signal);
  try {
    const agreed = agreementOf(outgoing);
    outgoing.end();
    const answer = await Promise.race([agreed, answerOf(outgoing)]);
    if (!('first' in answer)) return await pass(answer, response, exchange.cookies);
    if (answer.message.headers.upgrade?.toLowerCase() !== 'websocket') throw otherProtocol();
    response.detachSocket(socket);
    socket.write(switching(answer.message, exchange.cookies), 'latin1');
    if (answer.first.length > 0) socket.write(answer.first);
    if (head.length > 0) connection.write(head);
    socket.setTimeout(idleMs, () => cut(socket));
    splice(socket, connection);
    if (!socket.closed) await new Promise<void>((resolve) => socket.once('close', () => resolve()));
  } finally {
    outgoing.destroy();
    connection.destroy();
    if (!response.socket) socket.destroy();
  }
}

/** The answer that agrees, and the first bytes after it. */
function agreementOf(outgoing: http.ClientRequest): Promise<{ message: IncomingMessage; first: Buffer }> {
  return new Promise((resolve) => {
    outgoing.once('upgrade', (message, _socket, first) => resolve({ message, first }));
  });
}

function switching(message: IncomingMessage, cookies: readonly string[]): string {
  const lines = ['HTTP/1.1 101 Switching Protocols', 'Connection: Upgrade', 'Upgrade: websocket'];
  for (const [name, values] of responseFields(message.rawHeaders)) {
    for (const value of values) lines.push(`${name}: ${value}`);
  }
  for (const cookie of cookies) lines.push(`set-cookie: ${cookie}`);
  return `${lines.join('\r\n')}\r\n\r\n`;
}

const otherProtocol = (): SkerryError =>
  new SkerryError('connection-refused', 'The server in the sandbox switched to a protocol nobody asked for.');
