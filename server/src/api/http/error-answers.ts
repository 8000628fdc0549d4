/** What callers of the REST interface are told when something goes wrong: the error registry's words, never a stack. */
import type { $ZodError, $ZodIssue } from 'zod/v4/core';
import { SkerryError, toSkerryError } from '../../errors/skerry-error.ts';
import type { SandboxResult } from '../../sandboxes/state.ts';
import type { ErrorAnswer } from './fields.ts';

/** How long a caller should wait before the same request is worth a try, in seconds; of the statuses that promise one. */
const retryAfterSeconds: Readonly<Record<number, number>> = { 425: 1, 429: 5, 503: 5 };

export interface HttpErrorAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: ErrorAnswer;
}

/** Turns anything thrown into an answer. Fastify's own errors (body too large, not JSON) carry a `statusCode`. */
export function errorAnswerOf(thrown: unknown): HttpErrorAnswer {
  const error = fromFastify(thrown) ?? toSkerryError(thrown);
  const { http: status, suggestion, retryable } = error.kind;
  const { path, differs, reason, retryAfterMs } = error.details;
  const seconds =
    typeof retryAfterMs === 'number' ? Math.ceil(retryAfterMs / 1000) : retryAfterSeconds[status];
  return {
    status,
    headers: {
      ...(seconds === undefined ? {} : { 'retry-after': String(seconds) }),
      ...(status === 401 ? { 'www-authenticate': 'Bearer' } : {}),
    },
    body: {
      error: {
        code: error.code,
        // An internal error's text may quote the machine; the log has it.
        message: error.code === 'internal' ? 'Skerry failed to answer this request.' : error.message,
        suggestion,
        retryable,
        ...(typeof path === 'string' ? { path } : {}),
        ...(Array.isArray(differs) ? { differs: differs.map(String) } : {}),
        ...(isEndReason(reason) ? { reason } : {}),
      },
    },
  };
}

function fromFastify(thrown: unknown): SkerryError | undefined {
  if (thrown instanceof SkerryError || !(thrown instanceof Error)) return undefined;
  const status = 'statusCode' in thrown ? thrown.statusCode : undefined;
  if (typeof status !== 'number' || status < 400 || status > 499) return undefined;
  if (status === 413) return new SkerryError('too-large', 'The request body is larger than 8 MiB.');
  return new SkerryError('invalid-argument', thrown.message, { details: { path: 'body' } });
}

/** A validation failure as one error that names the first field at fault and says what is wrong with up to five. */
export function invalidRequest(part: string, error: $ZodError): SkerryError {
  const issues = error.issues.slice(0, 5);
  const text = issues.map((issue) => `${pathOf(part, issue)}: ${wordsOf(issue)}`).join('; ');
  const first = issues[0];
  return new SkerryError('invalid-argument', text, {
    details: { path: first ? pathOf(part, first) : part },
  });
}

/** What is wrong with a key of a record stands below the issue. */
const wordsOf = (issue: $ZodIssue): string =>
  (issue.code === 'invalid_key' && issue.issues[0]?.message) || issue.message;

function pathOf(part: string, issue: $ZodIssue): string {
  const unknown = issue.code === 'unrecognized_keys' ? issue.keys.slice(0, 1) : [];
  const path = [...issue.path, ...unknown].map(String).join('.');
  // Something wrong with the message as a whole has no field: the part of the request stands for it.
  return path === '' ? part : path.slice(0, 200);
}

const endReasons: Readonly<Record<SandboxResult['kind'], string>> = {
  exited: 'its entrypoint exited',
  terminated: 'it was destroyed',
  timeout: 'its deadline (ttlSeconds) passed',
  'idle-timeout': 'nothing happened in it for ttlSeconds',
  'out-of-memory': 'it used more memory than its limit',
  'start-failed': 'it could not be started',
  crashed: 'it crashed',
};

const isEndReason = (value: unknown): value is SandboxResult['kind'] =>
  typeof value === 'string' && Object.hasOwn(endReasons, value);

/** The error of a call to a sandbox that ended. `when` goes between: "The sandbox ended while the command ran: …". */
export function sandboxEnded(result: SandboxResult | undefined, when = ''): SkerryError {
  const why = result ? endReasons[result.kind] : 'it is being taken away';
  const more = result && 'message' in result ? ` (${result.message})` : '';
  return new SkerryError('sandbox-ended', `The sandbox ended${when}: ${why}${more}.`, {
    details: result ? { reason: result.kind } : {},
  });
}
