/**
 * What the commands need of the server that only find it on this machine and call it: the second door between the two, beside `operator.ts`. They start each time they are called, so nothing is
 * imported here that takes long to load (docs/decisions/0051).
 */
export {
  DEFAULT_TIMEOUT_SECONDS,
  networkOf,
  pythonImage,
  secondsOf,
  volumeOf,
} from './api/mcp/sandbox-settings.ts';
export { type TokenFile, tokenFilePath, tokenFileSchema } from './auth/token-file.ts';
export {
  belowHome,
  DATA_DIR_DESCRIPTION,
  DATA_DIR_FLAG,
  type DataDirFlags,
  dataDirOf,
  defaultDataDir,
} from './config/data-dir.ts';
export { SkerryError } from './errors/skerry-error.ts';
export { parseIgnore } from './images/dockerfile/path-pattern.ts';
