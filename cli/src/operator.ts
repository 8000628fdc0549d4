/** Requests of the command to its own server about tokens and its disk: `server/src/api/operator/` answers them. */
import * as z from 'zod/mini';
import { CliError } from './cli-error.ts';
import { readToken, type ServerState } from './server-state.ts';

const TIMEOUT_MS = 30_000;

/** What the server says of what it did not do. */
export const errorSchema = z.object({ error: z.object({ message: z.string() }) });

export const noAnswer = (url: string, error: unknown): CliError =>
  new CliError(`The server at ${url} does not answer: ${error instanceof Error ? error.message : error}`);

/** @param body of the answer; undefined where it was no JSON */
export function refusal(url: string, status: number | undefined, body: unknown): CliError {
  const { data } = errorSchema.safeParse(body);
  return new CliError(data?.error.message ?? `The server at ${url} answered with status ${status}.`);
}

/** Asks with the owner's token. @throws CliError with the server's own words */
export async function askServer<Answer>(
  { url }: Pick<ServerState, 'url'>,
  dataDir: string,
  request: {
    readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE';
    readonly path: string;
    readonly body?: object;
    readonly timeoutMs?: number;
  },
  answer: z.core.$ZodType<Answer>,
): Promise<Answer> {
  const { tokenId, tokenSecret } = readToken(dataDir);
  let response: Response;
  try {
    response = await fetch(`${url}/skerry/v1/${request.path}`, {
      method: request.method,
      headers: { authorization: `Bearer ${tokenId}:${tokenSecret}` },
      ...(request.body ? { body: JSON.stringify(request.body) } : {}),
      signal: AbortSignal.timeout(request.timeoutMs ?? TIMEOUT_MS),
    });
  } catch (error) {
    throw noAnswer(url, error);
  }
  const body: unknown = await response.json().catch(() => undefined);
  if (response.ok) return z.parse(answer, body);
  throw refusal(url, response.status, body);
}
