/** What servers ask each other about sandboxes: paths, and what is in them. Not for clients; a server asks one of its own version only. */
import { z } from 'zod';
import { type ErrorCode, errorKinds, SkerryError } from '../errors/skerry-error.ts';
import type { LifeEntry } from '../sandboxes/life-log.ts';
import type { Usage } from '../sandboxes/sandboxes.ts';
import type { SandboxResult } from '../sandboxes/state.ts';

/**
 *   POST begin/<sandbox>                      begins with it, to keep it
 *   POST terminate/<sandbox>                  answers once it has ended
 *   GET  wait/<sandbox>?<milliseconds>        {result?}
 *   GET  usage/<sandbox>                      {usage?}
 *   GET  stdout/<sandbox>?<offset>, stderr/…  what its entrypoint writes from there on, to its end
 *   POST connect/<sandbox>?<port>             the two ways of a connection to a program in it
 *   GET  life                                 what happens to all, a line of JSON each; an empty line says that it has begun
 *
 * What fails answers with another status than 200 and a `PeerFailure`.
 */
export const PEER_PREFIX = '/peer';

/** So long a call waits for a server that does not take it. Clients repeat it, and another may answer it then. */
export const PEER_PATIENCE_MS = 2_000;

export interface PeerFailure {
  readonly code: ErrorCode;
  readonly message: string;
}

const failureSchema = z.object({ code: z.string(), message: z.string() });

/** What an answer says that is none. */
export function readFailure(text: string): SkerryError {
  const parsed = failureSchema.safeParse(parseJson(text));
  const { code = '', message = '' } = parsed.data ?? {};
  return code in errorKinds
    ? new SkerryError(code as ErrorCode, message) // looked up just now
    : new SkerryError('unavailable', 'Another server of Skerry answered what is no answer.');
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Written by `entryLine` of a server of the same version. */
export const readEntry = (line: string): LifeEntry => JSON.parse(line) as LifeEntry;
export const entryLine = (entry: LifeEntry): string => `${JSON.stringify(entry)}\n`;

/** Likewise. */
export const readResult = (text: string): SandboxResult | undefined =>
  (JSON.parse(text) as { readonly result?: SandboxResult }).result;
export const readUsage = (text: string): Usage | undefined =>
  (JSON.parse(text) as { readonly usage?: Usage }).usage;
