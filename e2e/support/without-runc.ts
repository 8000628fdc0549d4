import { mkdirSync, readdirSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';

/**
 * The programs of the system but runc, in a new directory of `scratch`, to be a PATH by itself. Its name contains `/usr/sbin`, so that the real one is not
 * added to that.
 */
export function programsWithoutRunc(scratch: string): string {
  const bin = join(scratch, 'usr/sbin');
  mkdirSync(bin, { recursive: true });
  for (const dir of ['/usr/bin', '/usr/sbin']) {
    for (const name of readdirSync(dir)) {
      if (name === 'runc') continue;
      try {
        symlinkSync(join(dir, name), join(bin, name));
      } catch {
        // the same name in both
      }
    }
  }
  return bin;
}
