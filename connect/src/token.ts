/** Where the token comes from: a file, the environment or standard input; never the command line, which everybody on the machine can read. */
import { readFile } from 'node:fs/promises';
import http from 'node:http';
import { text } from 'node:stream/consumers';
import { ConnectError, usageError } from './connect-error.ts';
import type { Credentials } from './environment.ts';
import { nameOf, openLink, type Target } from './server-link.ts';

export type Token = Pick<Credentials, 'tokenId' | 'tokenSecret'>;

const ANSWER_TIMEOUT_MS = 20_000;
const MAX_ANSWER_BYTES = 64 << 10;

/**
 * Reads the token: of `file` (`-` is standard input), else of SKERRY_TOKEN, else of MODAL_TOKEN_ID and MODAL_TOKEN_SECRET.
 * @throws ConnectError when there is none or it has not the form of one
 */
export async function readToken(
  file: string | undefined,
  env: Readonly<Record<string, string | undefined>>,
  stdin: NodeJS.ReadableStream,
): Promise<Token> {
  if (file !== undefined) {
    const source = file === '-' ? 'Standard input' : file;
    return parseToken(file === '-' ? await text(stdin) : await readTokenFile(file), source);
  }
  if (env.SKERRY_TOKEN) return parseToken(env.SKERRY_TOKEN, 'SKERRY_TOKEN');
  const { MODAL_TOKEN_ID: tokenId, MODAL_TOKEN_SECRET: tokenSecret } = env;
  if (tokenId && tokenSecret) return { tokenId, tokenSecret };
  throw usageError(
    'There is no token. `skerry token create` on the server makes one: put it into SKERRY_TOKEN, or into a file and name that with --token-file.',
  );
}

async function readTokenFile(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    throw new ConnectError(`${file} cannot be read: ${error instanceof Error ? error.message : error}`, {
      cause: error,
    });
  }
}

/** `ak-…:as-…`, or the JSON of the server's `token.json`. */
function parseToken(content: string, source: string): Token {
  const match = /^(ak-[0-9A-Za-z]{1,64}):(as-[0-9A-Za-z]{1,128})$/.exec(content.trim());
  if (match?.[1] && match[2]) return { tokenId: match[1], tokenSecret: match[2] };
  const { tokenId, tokenSecret } = jsonObject(content);
  if (typeof tokenId === 'string' && typeof tokenSecret === 'string') return { tokenId, tokenSecret };
  throw usageError(`${source} holds no token: one has the form ak-…:as-….`);
}

function jsonObject(content: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(content);
    return typeof value === 'object' && value !== null ? { ...value } : {};
  } catch {
    return {};
  }
}

export interface Greeting {
  readonly version: string;
  readonly credentials: Credentials;
}

/** Asks the server what it thinks of the token. @throws ConnectError when it refuses it, cannot be reached or is no Skerry server */
export async function greet(target: Target, token: Token): Promise<Greeting> {
  const signal = AbortSignal.timeout(ANSWER_TIMEOUT_MS);
  const link = await openLink(target, signal);
  try {
    const { status, body } = await get(link, token, signal);
    const { skerry, apiKey } = body;
    if (status === 401) {
      throw new ConnectError(
        `The server at ${nameOf(target)} does not know this token. \`skerry token create\` makes one there; it may have been revoked.`,
      );
    }
    if (status !== 200 || typeof skerry !== 'string' || typeof apiKey !== 'string') {
      throw new ConnectError(`The server at ${nameOf(target)} answered strangely (HTTP ${status}).`);
    }
    return { version: skerry, credentials: { ...token, apiKey } };
  } catch (error) {
    if (error instanceof ConnectError) throw error;
    throw new ConnectError(
      `The server at ${nameOf(target)} did not answer: ${error instanceof Error ? error.message : error}`,
      { cause: error },
    );
  } finally {
    link.destroy();
  }
}

async function get(
  link: NonNullable<Awaited<ReturnType<typeof openLink>>>,
  token: Token,
  signal: AbortSignal,
) {
  const response = await new Promise<http.IncomingMessage>((resolve, reject) => {
    http
      .get(
        {
          createConnection: () => link,
          path: '/skerry/v1/token',
          headers: { host: 'localhost', authorization: `Bearer ${token.tokenId}:${token.tokenSecret}` },
          signal,
        },
        resolve,
      )
      .on('error', reject);
  });
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of response) {
    bytes += chunk.length;
    if (bytes > MAX_ANSWER_BYTES) throw new Error('its answer is too long');
    chunks.push(chunk);
  }
  return { status: response.statusCode ?? 0, body: jsonObject(Buffer.concat(chunks).toString('utf8')) };
}
