/** Requests of the command to its own server whose answers take their time: `server/src/api/operator/image-route.ts` has the lines that come. */
import { once } from 'node:events';
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { json } from 'node:stream/consumers';
import { pipeline } from 'node:stream/promises';
import * as z from 'zod/mini';
import { CliError } from './cli-error.ts';
import { errorSchema, noAnswer, refusal } from './operator.ts';
import { readToken, type ServerState } from './server-state.ts';

interface StreamRequest {
  readonly method: 'GET' | 'POST';
  readonly path: string;
  /** An object goes as JSON, a stream as it is. */
  readonly body?: object | Readable;
}

/** The answer, once its first bytes are there. @throws CliError with the server's own words */
export async function openAnswer(
  { url }: Pick<ServerState, 'url'>,
  dataDir: string,
  { method, path, body }: StreamRequest,
): Promise<IncomingMessage> {
  const { tokenId, tokenSecret } = readToken(dataDir);
  // Not `fetch`, which gives up on an answer that begins after five minutes.
  const start = url.startsWith('https:') ? httpsRequest : httpRequest;
  const request = start(`${url}/skerry/v1/${path}`, {
    method,
    headers: { authorization: `Bearer ${tokenId}:${tokenSecret}` },
  });
  const answered = once(request, 'response') as Promise<[IncomingMessage]>; // the event's arguments
  answered.catch(() => {}); // awaited below
  if (body && 'pipe' in body) {
    // A server that has its reasons answers before it has read all.
    await Promise.race([pipeline(body, request), answered]).catch((error: unknown) => {
      throw noAnswer(url, error);
    });
  } else request.end(body && JSON.stringify(body));
  const [response] = await answered.catch((error: unknown) => {
    throw noAnswer(url, error);
  });
  if (response.statusCode === 200) return response;
  throw refusal(url, response.statusCode, await json(response).catch(() => undefined));
}

const progressSchema = z.union([z.object({ say: z.string() }), z.object({ done: z.unknown() }), errorSchema]);

/** Tells on standard error what is said meanwhile. @throws CliError with the server's own words */
export async function followProgress<Answer>(
  server: Pick<ServerState, 'url'>,
  dataDir: string,
  request: StreamRequest,
  answer: z.core.$ZodType<Answer>,
): Promise<Answer> {
  for await (const line of linesOf(await openAnswer(server, dataDir, request), progressSchema)) {
    if ('say' in line) process.stderr.write(`${line.say}\n`);
    else if ('error' in line) throw new CliError(line.error.message);
    else return z.parse(answer, line.done);
  }
  throw new CliError(`The server at ${server.url} went away before it was done.`);
}

/** One object a line. */
export async function* linesOf<Line>(
  answer: IncomingMessage,
  schema: z.core.$ZodType<Line>,
): AsyncGenerator<Line> {
  for await (const line of createInterface({ input: answer, crlfDelay: Infinity })) {
    yield z.parse(schema, JSON.parse(line));
  }
}
