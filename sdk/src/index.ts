/**
 * Sandboxes for untrusted code, on your own machines.
 * @module skerry
 */
export {
  CodeContext,
  type CodeFailure,
  type CodeResult,
  type Language,
  type RichResult,
  type RunCodeOptions,
  type Table,
} from './code.ts';
export { CommandError } from './command-error.ts';
export type { ConnectionOptions } from './connection.ts';
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
  SkerryError,
  UnsupportedError,
  WaitTimeoutError,
} from './core/errors.ts';
export type { Fetch, FetchAnswer, FetchRequest } from './core/http.ts';
export { type FileContent, SandboxFiles } from './files.ts';
export type * from './gen/types.ts';
export {
  type ExecResult,
  type Input,
  type Options,
  type OutputPiece,
  OutputStream,
  Process,
  type Signal,
  StdinWriter,
} from './process.ts';
export { quote, type Word } from './quote.ts';
export { type CreateOptions, type ExecOptions, type ListOptions, type Loose, Sandbox } from './sandbox.ts';
export { secrets } from './secret.ts';
export {
  type SandboxTool,
  sandboxTools,
  type ToolAnswer,
  type ToolImage,
  type ToolOptions,
} from './tools.ts';
export { Volume } from './volume.ts';
export { keepWarm, type Warmed, type WarmKind, type WarmOptions, warmKinds } from './warm.ts';
