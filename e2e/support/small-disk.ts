/** A file system of the test's own that can be filled without harm to the machine. */
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { run } from '../../server/src/platform/command.ts';

export interface SmallDisk extends AsyncDisposable {
  /** Where it is mounted. */
  readonly path: string;
  /** Whether there is no room for another block. */
  isFull(): boolean;
  /** Has what is in memory of files on it written, also of file systems in files on it. */
  sync(): Promise<void>;
}

/** As `skip` of a test's options: false where one can be made, or why not. */
export const noSmallDisk: false | string = existsSync('/dev/loop-control') ? false : 'no loop devices here';

/** An ext4 of that size, in a file. It is unmounted and removed with what it gives. */
export async function makeSmallDisk(bytes: number): Promise<SmallDisk> {
  const directory = mkdtempSync(join(tmpdir(), 'small-disk-'));
  const image = join(directory, 'image');
  const path = join(directory, 'disk');
  try {
    mkdirSync(path);
    writeFileSync(image, '');
    truncateSync(image, bytes);
    await run(['mkfs.ext4', '-q', '-b', '4096', '-m', '0', image]);
    await run(['mount', '-o', 'loop', image, path]);
    // What ext4 keeps back for itself it would still give where a plain file gets none.
    const { stdout } = await run(['findmnt', '--noheadings', '--output', 'SOURCE', path]);
    writeFileSync(join('/sys/fs/ext4', stdout.trim().replace('/dev/', ''), 'reserved_clusters'), '0');
  } catch (error) {
    await run(['umount', path]).catch(() => {}); // it may not have come to that
    rmSync(directory, { recursive: true, force: true });
    throw error;
  }
  const probe = join(path, 'probe');
  return {
    path,
    isFull: () => {
      try {
        writeFileSync(probe, Buffer.alloc(4096));
        return false;
      } catch {
        return true;
      } finally {
        rmSync(probe, { force: true });
      }
    },
    sync: async () => {
      for (const mount of [...mountedFrom(path), path]) await run(['sync', '--file-system', mount]);
    },
    [Symbol.asyncDispose]: async () => {
      await run(['umount', path]);
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

/** Where file systems are mounted that are in files below a directory. */
function mountedFrom(directory: string): readonly string[] {
  const mounts = readFileSync('/proc/self/mounts', 'utf8').split('\n');
  return mounts.flatMap((line) => {
    const [, loop, target] = /^\/dev\/(loop\d+) (\S+) /.exec(line) ?? [];
    if (loop === undefined || target === undefined) return [];
    const file = `/sys/block/${loop}/loop/backing_file`;
    return existsSync(file) && readFileSync(file, 'utf8').startsWith(`${directory}/`) ? [target] : [];
  });
}
