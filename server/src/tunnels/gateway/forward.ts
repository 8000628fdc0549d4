/** One request and its answer, through a connection into the sandbox. */
import http, { type IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { SkerryError } from '../../errors/skerry-error.ts';
import type { AnyRequest, AnyResponse } from '../../transport/port.ts';
import { withoutTokenParameter } from './credentials.ts';
import { type Asked, requestFields, responseFields } from './headers.ts';
import type { RequestLine } from './request-line.ts';

/** A request that may pass. */
export interface Exchange extends RequestLine {
  readonly asked: Asked;
  /** Values of Set-Cookie that its answer has beside those of the program. */
  readonly cookies: readonly string[];
}

/** What the program may say before its body. */
const MAX_HEADER_BYTES = 64 << 10;
const NOTHING = new Uint8Array();

/**
 * Resolves when the answer has ended.
 * @param signal ends it: the client is gone
 * @throws SkerryError `connection-refused` when the program breaks off, or does not speak HTTP
 */
export async function forward(
  exchange: Exchange,
  request: AnyRequest,
  response: AnyResponse,
  connection: Duplex,
  signal: AbortSignal,
): Promise<void> {
  const { fields, comes } = bodyOf(request);
  const outgoing = open(exchange, [...requestFields(exchange.asked), ...fields], connection, signal);
  try {
    const answer = answerOf(outgoing);
    // A program may answer before it has read everything, and need not read the rest: then only its answer counts.
    if (comes) request.pipe(outgoing);
    else outgoing.end();
    await pass(await answer, response, exchange.cookies);
  } finally {
    outgoing.destroy();
    connection.destroy();
  }
}

/** Begins a request on a connection that is there for it alone. Whoever has it must see to its errors, and end the connection. */
export function open(
  { method, path }: RequestLine,
  fields: readonly (readonly [string, string])[],
  connection: Duplex,
  signal: AbortSignal,
): http.ClientRequest {
  return http.request({
    method,
    path: withoutTokenParameter(path),
    headers: fields.flat(),
    maxHeaderSize: MAX_HEADER_BYTES,
    insecureHTTPParser: false,
    signal,
    createConnection: () => connection,
  });
}

/** The program's answer, as soon as its header is there. @throws SkerryError `connection-refused` */
export function answerOf(outgoing: http.ClientRequest): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    outgoing.once('response', resolve);
    outgoing.on('error', (error: NodeJS.ErrnoException) => reject(whyNoAnswer(error)));
  });
}

/** Hands an answer on as it comes. */
export async function pass(
  answer: IncomingMessage,
  response: AnyResponse,
  cookies: readonly string[],
): Promise<void> {
  try {
    begin(answer, response, cookies);
  } catch (error) {
    throw noAnswer('The server in the sandbox answered with headers that cannot be passed on.', error);
  }
  await pipeline(answer, response);
}

function begin(answer: IncomingMessage, response: AnyResponse, cookies: readonly string[]): void {
  const status = answer.statusCode ?? 502;
  const fields = responseFields(answer.rawHeaders);
  if (cookies.length > 0) fields.set('set-cookie', [...(fields.get('set-cookie') ?? []), ...cookies]);
  for (const [name, values] of fields) {
    response.setHeader(name, values.length === 1 ? (values[0] ?? '') : values);
  }
  // At once: a stream of events may have nothing to say yet.
  if (response instanceof http.ServerResponse) {
    response.writeHead(status, answer.statusMessage);
    // As bytes: Node's `flushHeaders` writes them as UTF-8, and they are of Latin-1.
    response.write(NOTHING);
  } else {
    response.writeHead(status);
  }
}

/** Of which nobody expects a body; of others it is said that there is none (RFC 9110, section 8.6). */
const WITHOUT_BODY: ReadonlySet<string> = new Set(['GET', 'HEAD', 'DELETE', 'OPTIONS', 'TRACE']);

/** Whether a body comes, and the headers that say how it is delimited. */
function bodyOf(request: AnyRequest): {
  readonly comes: boolean;
  readonly fields: readonly (readonly [string, string])[];
} {
  const { 'content-length': length, 'transfer-encoding': coding } = request.headers;
  if (length !== undefined) return { comes: true, fields: [['Content-Length', length]] };
  const comes = 'stream' in request ? !request.stream.endAfterHeaders : coding !== undefined;
  if (comes) return { comes, fields: [['Transfer-Encoding', 'chunked']] };
  return { comes, fields: WITHOUT_BODY.has(request.method ?? '') ? [] : [['Content-Length', '0']] };
}

function whyNoAnswer(error: NodeJS.ErrnoException): SkerryError {
  return error.code?.startsWith('HPE_')
    ? noAnswer('What listens on that port of the sandbox does not speak HTTP/1.1.', error)
    : noAnswer('The server in the sandbox closed the connection before it answered.', error);
}

const noAnswer = (message: string, cause: unknown): SkerryError =>
  new SkerryError('connection-refused', message, { cause });
