/** The smallest useful root filesystem: Debian's static busybox under all its names. */
import { chmod, copyFile, mkdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { run } from '../../platform/command.ts';

/**
 * @param names of the programs it has; by default all of busybox's
 * @throws when no busybox is installed (`apt-get install -y busybox-static`).
 */
export async function createBusyboxLayer(directory: string, names?: readonly string[]): Promise<string> {
  const { stdout: path } = await run(['which', 'busybox']);
  const applets = names ?? (await run(['busybox', '--list'])).stdout.trim().split('\n');
  const bin = join(directory, 'bin');
  await mkdir(bin, { recursive: true });
  await copyFile(path.trim(), join(bin, 'busybox'));
  await chmod(join(bin, 'busybox'), 0o755);
  for (const name of applets) {
    if (name !== 'busybox') await symlink('busybox', join(bin, name));
  }
  await mkdir(join(directory, 'etc'));
  await mkdir(join(directory, 'root'));
  await mkdir(join(directory, 'data'));
  await writeFile(join(directory, 'data', 'lower.txt'), 'lower\n');
  await writeFile(join(directory, 'data', 'doomed.txt'), 'doomed\n');
  await writeFile(
    join(directory, 'etc', 'passwd'),
    'root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/:/bin/sh\n',
  );
  await writeFile(join(directory, 'etc', 'group'), 'root:x:0:\nuser:x:1000:\n');
  return directory;
}
