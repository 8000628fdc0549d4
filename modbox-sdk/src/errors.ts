/** What goes wrong, as one class per thing a program may want to do about it. Every message says what happened and what to do next. */
import type { ErrorAnswer } from './gen/types.ts';

type ErrorBody = ErrorAnswer['error'];

/** Base of all errors of this package. */
export class ModboxError extends Error {
  override readonly name: string = 'ModboxError';
  /** Stable, for programs; the server's codes are listed in docs/modbox.md. */
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

  constructor(
    body: ErrorBody,
    answer: {
      readonly status: number;
      readonly retryAfterSeconds?: number | undefined;
      readonly cause?: unknown;
    },
  ) {
    super(
      `${sentence(body.message)} ${body.suggestion}`,
      answer.cause === undefined ? undefined : { cause: answer.cause },
    );
    this.code = body.code;
    this.status = answer.status;
    this.suggestion = body.suggestion;
    this.retryable = body.retryable;
    this.retryAfterSeconds = answer.retryAfterSeconds;
    this.path = body.path;
  }
}

/** Some messages end in a path or a name. */
const sentence = (text: string) => (/[.!?]$/.test(text) ? text : `${text}.`);

/** 400, 413: the request is not one the server takes; `path` names the field. */
export class InvalidRequestError extends ModboxError {
  override readonly name = 'InvalidRequestError';
}

/** 401: no token, or a wrong one. */
export class AuthenticationError extends ModboxError {
  override readonly name = 'AuthenticationError';
}

/** 403: a valid key that does not reach this. */
export class PermissionDeniedError extends ModboxError {
  override readonly name = 'PermissionDeniedError';
}

/** 404: no such sandbox, image, process or file. */
export class NotFoundError extends ModboxError {
  override readonly name = 'NotFoundError';
}

/** 409: the task id has a running sandbox with another definition (`differs`), or a file is not what the call needs. */
export class ConflictError extends ModboxError {
  override readonly name = 'ConflictError';
  /** The fields in which the running sandbox is another. */
  readonly differs: readonly string[];

  constructor(...[body, answer]: ConstructorParameters<typeof ModboxError>) {
    super(body, answer);
    this.differs = body.differs ?? [];
  }
}

/** 410: the sandbox ended, before the call or while its command ran. */
export class SandboxEndedError extends ModboxError {
  override readonly name = 'SandboxEndedError';
  /** Why: `timeout` when ttlSeconds passed. */
  readonly reason: ErrorBody['reason'];

  constructor(...[body, answer]: ConstructorParameters<typeof ModboxError>) {
    super(body, answer);
    this.reason = body.reason;
  }
}

/** 422: the image could not be built; the message has the end of the build log. */
export class ImageBuildError extends ModboxError {
  override readonly name = 'ImageBuildError';
}

/** 425, 503: not yet; try again after `retryAfterSeconds`. */
export class NotReadyError extends ModboxError {
  override readonly name = 'NotReadyError';
}

/** 429: the server runs as many sandboxes as it may. */
export class QuotaError extends ModboxError {
  override readonly name = 'QuotaError';
}

/** The server could not be reached, or what answered is not one. */
export class ConnectionError extends ModboxError {
  override readonly name = 'ConnectionError';
}

/** A wait of this client took longer than the caller allowed. The sandbox goes on. */
export class WaitTimeoutError extends ModboxError {
  override readonly name = 'WaitTimeoutError';
}

const classes: Readonly<Record<number, typeof ModboxError>> = {
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
  503: NotReadyError,
};

/** The error of an answer. `text` is its body. */
export function errorOfAnswer(url: string, response: Response, text: string): ModboxError {
  const seconds = Number(response.headers.get('retry-after') ?? Number.NaN);
  const answer = {
    status: response.status,
    retryAfterSeconds: Number.isFinite(seconds) ? seconds : undefined,
  };
  const body = parseBody(text);
  if (body) return new (classes[response.status] ?? ModboxError)(body, answer);
  const message = `${new URL(url).origin} answered with status ${response.status} and no Modbox error.`;
  return new ConnectionError(notModbox(message), answer);
}

/** The error of a stream's `error` event. */
export function errorOfEvent(body: ErrorBody): ModboxError {
  const statuses: Readonly<Record<string, number>> = {
    'sandbox-ended': 410,
    'not-found': 404,
    unavailable: 503,
  };
  const status = statuses[body.code] ?? 500;
  return new (classes[status] ?? ModboxError)(body, { status });
}

/** What an answer says that does not come from a Modbox server. */
export const notModbox = (message: string): ErrorBody => ({
  code: 'not-modbox',
  message,
  suggestion: 'Check baseUrl (or MODBOX_API_URL): it must be the address of a Modbox server.',
  retryable: false,
});

function parseBody(text: string): ErrorBody | undefined {
  try {
    const { error } = JSON.parse(text) as Partial<ErrorAnswer>;
    return typeof error?.message === 'string' && typeof error.code === 'string' ? error : undefined;
  } catch {
    return undefined;
  }
}
