/** What went wrong with a file of a sandbox, as the operating system in it tells. */
import { type ErrorCode, SkerryError } from '../errors/skerry-error.ts';

/** `other` is a trouble of the sandbox's own that has no word here, `no-answer` a helper that said nothing sensible. */
export type FileFault =
  | 'not-found'
  | 'not-a-directory'
  | 'is-a-directory'
  | 'exists'
  | 'not-empty'
  | 'permission-denied'
  | 'too-large'
  | 'no-space'
  | 'too-many-open'
  | 'invalid'
  | 'other'
  | 'no-answer';

/** What is not the caller's mistake nor ours is the state of things: a full disk, a file in the way. */
const codes = {
  'not-found': 'not-found',
  'not-a-directory': 'conflict',
  'is-a-directory': 'conflict',
  exists: 'conflict',
  'not-empty': 'conflict',
  'permission-denied': 'permission-denied',
  'too-large': 'too-large',
  'no-space': 'conflict',
  'too-many-open': 'resource-exhausted',
  invalid: 'conflict',
  other: 'conflict',
  'no-answer': 'unavailable',
} as const satisfies Record<FileFault, ErrorCode>;

export class FileError extends SkerryError {
  readonly fault: FileFault;

  constructor(fault: FileFault, message: string) {
    super(codes[fault], message);
    this.fault = fault;
  }
}

/** `error_kind` of the helper (`agent/src/fstools/error.rs`; the second word for one is that of earlier agents). */
const kinds: ReadonlyMap<string, FileFault> = new Map([
  ['NotFound', 'not-found'],
  ['NotDirectory', 'not-a-directory'],
  ['PathAlreadyExists', 'exists'],
  ['AlreadyExists', 'exists'],
  ['IsDirectory', 'is-a-directory'],
  ['DirectoryNotEmpty', 'not-empty'],
  ['PermissionDenied', 'permission-denied'],
  ['FileTooLarge', 'too-large'],
  ['InvalidPath', 'invalid'],
]);

/** A full disk has no kind of its own: the words tell it. */
export const faultOf = (kind: string, message: string): FileFault =>
  message.startsWith('No space left') ? 'no-space' : (kinds.get(kind) ?? 'other');
