/** What goes wrong, as one class per thing a program may want to do about it. Every message says what happened and what to do next. */
export {
  AuthenticationError,
  ConflictError,
  ConnectionError,
  DiskFullError,
  ImageBuildError,
  InvalidRequestError,
  NotFoundError,
  NotReadyError,
  PermissionDeniedError,
  QuotaError,
  SandboxEndedError,
  SkerryError as ModboxError,
  UnsupportedError,
  WaitTimeoutError,
} from '../../sdk/src/core/errors.ts';
