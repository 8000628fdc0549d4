/** What goes wrong, as one class per thing a program may want to do about it. Every message says what happened and what to do next. */

import type { ErrorAnswer } from '../gen/types.ts';
import type { Face } from './face.ts';
import type { FetchAnswer } from './http.ts';

export type ErrorBody = ErrorAnswer['error'];

/** Base of all errors of this package. */
export class SkerryError extends Error {
  override readonly name: string;
  /** Stable, for programs. */
  readonly code: string;
  /** HTTP status of the answer; 0 when there was none. */
  readonly status: number;
  /** What to do next, also at the end of `message`. */
  readonly suggestion: string;
  /** True when the same call may succeed later. */
  readonly retryable: boolean;
  /** Seconds the server asks to wait before that, if it said so. */
  readonly retryAfterSeconds: number | undefined;
  /** The field of the request at fault. */
  readonly path: string | undefined;
  /** Of a sandbox that ended: why. */
  readonly reason: ErrorBody['reason'];

  constructor(
    body: ErrorBody,
    answer: {
      readonly status: number;
      readonly retryAfterSeconds?: number | undefined;
      readonly cause?: unknown;
      /** Whose answer it is: errors that have no class of their own are named after it. */
      readonly product?: 'Skerry' | 'Modbox';
    },
  ) {
    const options = answer.cause === undefined ? undefined : { cause: answer.cause };
    super(`${sentence(body.message)} ${body.suggestion}`.trimEnd(), options);
    this.name = `${answer.product ?? 'Skerry'}Error`;
    this.code = body.code;
    this.status = answer.status;
    this.suggestion = body.suggestion;
    this.retryable = body.retryable;
    this.retryAfterSeconds = answer.retryAfterSeconds;
    this.path = body.path;
    this.reason = body.reason;
  }
}

/** Some messages end in a path or a name. */
const sentence = (text: string) => (/[.!?]$/.test(text) ? text : `${text}.`);

/** 400, 413: the request is not one the server takes; `path` names the field. */
export class InvalidRequestError extends SkerryError {
  override readonly name = 'InvalidRequestError';
}

/** 401: no token, or a wrong one. */
export class AuthenticationError extends SkerryError {
  override readonly name = 'AuthenticationError';
}

/** 403: a valid key that does not reach this. */
export class PermissionDeniedError extends SkerryError {
  override readonly name = 'PermissionDeniedError';
}

/** 404: no such sandbox, image, process or file. */
export class NotFoundError extends SkerryError {
  override readonly name = 'NotFoundError';
}

/** 409: the name is taken, or something is not in the state that the call needs. */
export class ConflictError extends SkerryError {
  override readonly name = 'ConflictError';
  /** The fields in which the running sandbox of a Modbox task id is another; of every other conflict none. */
  readonly differs: readonly string[];

  constructor(body: ErrorBody, answer: ConstructorParameters<typeof SkerryError>[1]) {
    super(body, answer);
    this.differs = body.differs ?? [];
  }
}

/** 410: the sandbox ended, before the call or while its program ran. `reason` says why. */
export class SandboxEndedError extends SkerryError {
  override readonly name = 'SandboxEndedError';
}

/** 422: the image could not be made; the message has the end of the build log. */
export class ImageBuildError extends SkerryError {
  override readonly name = 'ImageBuildError';
}

/** 425, 503: not yet; try again after `retryAfterSeconds`. */
export class NotReadyError extends SkerryError {
  override readonly name = 'NotReadyError';
}

/** 429: the server runs as many sandboxes as it may. */
export class QuotaError extends SkerryError {
  override readonly name = 'QuotaError';
}

/** 501: the server, or the runtime that the sandbox has, cannot do this. */
export class UnsupportedError extends SkerryError {
  override readonly name = 'UnsupportedError';
}

/** 507: the disk, or the volume, has no room for it. */
export class DiskFullError extends SkerryError {
  override readonly name = 'DiskFullError';
}

/** The server could not be reached, or what answered is not one. */
export class ConnectionError extends SkerryError {
  override readonly name = 'ConnectionError';
}

/** A wait of this client took longer than the caller allowed. The sandbox goes on. */
export class WaitTimeoutError extends SkerryError {
  override readonly name = 'WaitTimeoutError';
}

const classes: Readonly<Record<number, typeof SkerryError>> = {
  400: InvalidRequestError,
  401: AuthenticationError,
  403: PermissionDeniedError,
  404: NotFoundError,
  409: ConflictError,
  410: SandboxEndedError,
  413: InvalidRequestError,
  422: ImageBuildError,
  425: NotReadyError,
  429: QuotaError,
  501: UnsupportedError,
  503: NotReadyError,
  507: DiskFullError,
};

/** The error of an answer. `text` is its body. */
export function errorOfAnswer(url: string, response: FetchAnswer, text: string, face: Face): SkerryError {
  const seconds = Number(response.headers.get('retry-after') ?? Number.NaN);
  const { status } = response;
  const retryAfterSeconds = Number.isFinite(seconds) ? seconds : undefined;
  const body = parseBody(text);
  if (body) return errorOf(body, { status, retryAfterSeconds, product: face.product });
  const message = `${new URL(url).origin} answered with status ${status} and no ${face.product} error.`;
  return new ConnectionError(notOurs(message, face), { status, retryAfterSeconds });
}

/** The error that ends a stream. */
export function errorOfStream(body: ErrorBody, face: Face): SkerryError {
  const statuses: Readonly<Record<string, number>> = {
    'sandbox-ended': 410,
    'not-found': 404,
    'not-ready': 425,
    unavailable: 503,
  };
  return errorOf(body, { status: statuses[body.code] ?? 500, product: face.product });
}

function errorOf(...[body, answer]: ConstructorParameters<typeof SkerryError>): SkerryError {
  return new (classes[answer.status] ?? SkerryError)(body, answer);
}

/** What an answer says that does not come from a server of ours. */
export const notOurs = (message: string, { product, urlOption, urlVariable }: Face): ErrorBody => ({
  code: `not-${product.toLowerCase()}`,
  message,
  suggestion: `Check ${urlOption} (or ${urlVariable}): it must be the address of a ${product} server.`,
  retryable: false,
});

/** There is no connection, or no more. `url` may be what the server is called where its address is not known. */
export const unreachable = (url: string, cause: unknown, { urlOption, urlVariable }: Face): ConnectionError =>
  new ConnectionError(
    {
      code: 'unreachable',
      message: `${url} cannot be reached`,
      suggestion: `Start the server (\`skerry up\`), or set ${urlVariable} or ${urlOption} to where it is.`,
      retryable: true,
    },
    { status: 0, cause },
  );

function parseBody(text: string): ErrorBody | undefined {
  try {
    const { error } = JSON.parse(text) as { readonly error?: Partial<ErrorBody> };
    const { code, message, suggestion = '', retryable = false } = error ?? {};
    if (typeof code !== 'string' || typeof message !== 'string') return undefined;
    return { ...error, code, message, suggestion, retryable };
  } catch {
    return undefined;
  }
}
