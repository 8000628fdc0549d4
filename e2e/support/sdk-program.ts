/** A program that uses the SDK as it is installed elsewhere: `sdk-program.mjs`. */
import { copyFileSync } from 'node:fs';
import { join } from 'node:path';

/** What its `useSdk` gives. */
export const used = {
  lines: ['<ü>', '<b>'],
  exitCode: 3,
  file: 'text',
  text: '42',
  aborted: 'TimeoutError',
  missing: true,
};

/** Puts it into a directory where the SDK is installed. @returns how modules there import it */
export function copySdkProgram(directory: string): string {
  copyFileSync(join(import.meta.dirname, 'sdk-program.mjs'), join(directory, 'sdk-program.mjs'));
  return './sdk-program.mjs';
}
