/** Finding programs on the machine without running them. */
import { accessSync, constants } from 'node:fs';
import { join } from 'node:path';
import { baseEnvironment } from './command.ts';

/** True when the file exists and this process may execute it. */
export const isExecutable = (path: string): boolean => {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
};

/** The first executable of that name in PATH (and where system programs are). */
export function findProgram(name: string): string | undefined {
  const directories = (baseEnvironment().PATH ?? '').split(':').filter((directory) => directory !== '');
  return directories.map((directory) => join(directory, name)).find(isExecutable);
}
