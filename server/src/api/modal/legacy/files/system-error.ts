/** What went wrong with a file, in the numbers that older Python clients turn into Python's own exceptions. */
import type { FileFault } from '../../../../sandboxes/file-error.ts';
import { SystemErrorCode } from '../../gen/modal/common_pb.ts';

export const systemErrorCodes = {
  'not-found': SystemErrorCode.NOENT,
  'not-a-directory': SystemErrorCode.NOTDIR,
  'is-a-directory': SystemErrorCode.ISDIR,
  exists: SystemErrorCode.EXIST,
  // The clients have no exception for it; this one becomes an OSError.
  'not-empty': SystemErrorCode.INVAL,
  'permission-denied': SystemErrorCode.ACCES,
  'too-large': SystemErrorCode.FBIG,
  'no-space': SystemErrorCode.NOSPC,
  'too-many-open': SystemErrorCode.MFILE,
  invalid: SystemErrorCode.INVAL,
  other: SystemErrorCode.IO,
  'no-answer': SystemErrorCode.IO,
} as const satisfies Record<FileFault, SystemErrorCode>;
