/**
 * The error registry: every error Skerry answers with, its gRPC and HTTP status, whether a retry can help, whose fault it
 * is and what to do next. Texts are read by users: the official clients show `message` verbatim.
 */

import { firstError } from './first-error.ts';

/** gRPC status codes, https://grpc.io/docs/guides/status-codes/ */
export const GrpcStatus = {
  CANCELLED: 1,
  UNKNOWN: 2,
  INVALID_ARGUMENT: 3,
  DEADLINE_EXCEEDED: 4,
  NOT_FOUND: 5,
  ALREADY_EXISTS: 6,
  PERMISSION_DENIED: 7,
  RESOURCE_EXHAUSTED: 8,
  FAILED_PRECONDITION: 9,
  ABORTED: 10,
  OUT_OF_RANGE: 11,
  UNIMPLEMENTED: 12,
  INTERNAL: 13,
  UNAVAILABLE: 14,
  UNAUTHENTICATED: 16,
} as const;

/** Whose fault an error is: the caller's request, the program in the sandbox, or Skerry and its machine. */
export type Blame = 'caller' | 'program' | 'skerry';

export interface ErrorKind {
  readonly grpc: number;
  readonly http: number;
  /** True when the same request may succeed later without the caller changing anything. */
  readonly retryable: boolean;
  readonly blame: Blame;
  /** The next step, as one imperative sentence; appended to the message on surfaces that have room for it. */
  readonly suggestion: string;
}

const G = GrpcStatus;
const kind = (
  grpc: number,
  http: number,
  blame: Blame,
  suggestion: string,
  retryable = false,
): ErrorKind => ({
  grpc,
  http,
  retryable,
  blame,
  suggestion,
});

/**
 * Permanent conditions never use CANCELLED, UNKNOWN, DEADLINE_EXCEEDED, INTERNAL or UNAVAILABLE: the official clients retry
 * those, on `TaskExecWait` for ever (`docs/protocol/errors.md`, section 1).
 */
export const errorKinds = {
  'invalid-argument': kind(G.INVALID_ARGUMENT, 400, 'caller', 'Correct the named field and try again.'),
  'too-large': kind(G.INVALID_ARGUMENT, 413, 'caller', 'Send less at once; the message names the bound.'),
  unauthenticated: kind(G.UNAUTHENTICATED, 401, 'caller', 'Run `eval "$(skerry env)"` for a valid token.'),
  'permission-denied': kind(G.PERMISSION_DENIED, 403, 'caller', 'Use the key that belongs to this sandbox.'),
  'scope-missing': kind(
    G.PERMISSION_DENIED,
    403,
    'caller',
    "Have one made on the server's machine: skerry token create --scope …",
  ),
  'rate-limited': kind(
    G.RESOURCE_EXHAUSTED,
    429,
    'caller',
    'Wait as long as the message says, then try again.',
    true,
  ),
  'quota-exceeded': kind(
    G.RESOURCE_EXHAUSTED,
    429,
    'caller',
    'End sandboxes that count for it, or have it raised: skerry token create, skerry environment quota.',
    true,
  ),
  'not-found': kind(G.NOT_FOUND, 404, 'caller', 'Check the id or name; ended objects may have been removed.'),
  'sandbox-ended': kind(G.NOT_FOUND, 410, 'caller', 'Create a new sandbox.'),
  'already-exists': kind(G.ALREADY_EXISTS, 409, 'caller', 'Choose another name or use the existing object.'),
  conflict: kind(G.FAILED_PRECONDITION, 409, 'caller', 'Bring the object into the state the call needs.'),
  'stdin-closed': kind(G.FAILED_PRECONDITION, 409, 'program', 'The process no longer reads its input.'),
  'connection-refused': kind(
    G.FAILED_PRECONDITION,
    502,
    'program',
    'Start a server on that port in the sandbox, and wait until it listens.',
    true,
  ),
  'program-not-found': kind(
    G.INVALID_ARGUMENT,
    400,
    'caller',
    'Check the spelling, or install it in the image.',
  ),
  'program-not-executable': kind(
    G.INVALID_ARGUMENT,
    400,
    'caller',
    'Set its executable bit, or run it through its interpreter.',
  ),
  'bad-workdir': kind(
    G.INVALID_ARGUMENT,
    400,
    'caller',
    'Create the directory first, or choose another workdir.',
  ),
  'bad-user': kind(
    G.INVALID_ARGUMENT,
    400,
    'caller',
    "Add the user to the image's /etc/passwd, or use a numeric id.",
  ),
  'image-build-failed': kind(
    G.FAILED_PRECONDITION,
    422,
    'caller',
    'Read the build log; it ends with the failing command.',
  ),
  'deadline-exceeded': kind(G.DEADLINE_EXCEEDED, 504, 'caller', 'Allow more time.', true),
  'not-ready': kind(
    G.UNAVAILABLE,
    425,
    'skerry',
    'Wait for the sandbox to be running, then try again.',
    true,
  ),
  'resource-exhausted': kind(
    G.RESOURCE_EXHAUSTED,
    429,
    'skerry',
    'End sandboxes you no longer need, or raise the limit.',
    true,
  ),
  'disk-full': kind(
    G.RESOURCE_EXHAUSTED,
    507,
    'skerry',
    'Free disk space on the machine: `skerry doctor` shows where.',
  ),
  'volume-full': kind(
    G.RESOURCE_EXHAUSTED,
    507,
    'caller',
    'Remove files from the volume, use another one, or have its bound raised (`--max-volume-mib`).',
  ),
  unimplemented: kind(G.UNIMPLEMENTED, 501, 'skerry', 'See docs/compatibility.md for what works.'),
  unavailable: kind(G.UNAVAILABLE, 503, 'skerry', 'Try again in a moment.', true),
  internal: kind(G.INTERNAL, 500, 'skerry', 'This is a bug in Skerry: the server log has the details.', true),
} as const satisfies Record<string, ErrorKind>;

export type ErrorCode = keyof typeof errorKinds;

/** The one error class. `details` is structured context for logs and REST bodies; it must hold no secrets. */
export class SkerryError extends Error {
  override readonly name = 'SkerryError';
  readonly code: ErrorCode;
  readonly details: Readonly<Record<string, unknown>>;

  constructor(
    code: ErrorCode,
    message: string,
    options: { cause?: unknown; details?: Record<string, unknown> } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.details = options.details ?? {};
  }

  get kind(): ErrorKind {
    return errorKinds[this.code];
  }
}

/** SQLITE_FULL, https://www.sqlite.org/rescode.html#full */
const SQLITE_FULL = 13;

/** Whether the machine had no room for what should have been written, by the system's word or the database's. */
function isDiskFull(error: unknown): boolean {
  const { code, errcode } = (error ?? {}) as { code?: unknown; errcode?: unknown }; // whatever was thrown
  return code === 'ENOSPC' || code === 'EDQUOT' || (code === 'ERR_SQLITE_ERROR' && errcode === SQLITE_FULL);
}

/**
 * Turns anything thrown into a SkerryError; what is not one already is a bug of ours or of the machine. Of errors that came together it is the
 * first.
 */
export function toSkerryError(thrown: unknown): SkerryError {
  const error = firstError(thrown);
  if (error instanceof SkerryError) return error;
  if (isDiskFull(error)) {
    return new SkerryError('disk-full', 'The machine that runs this sandbox is out of disk space.', {
      cause: error,
    });
  }
  const text = error instanceof Error ? error.message : String(error);
  return new SkerryError('internal', `Unexpected error: ${text}`, { cause: error });
}
