/**
 * The root filesystem of a fake instance: a plain copy of its layers. A layer that a fake instance gave away holds everything, so that what was removed
 * stays removed: it carries a mark that nothing below it counts.
 */
import { chmod, mkdir, readdir, rename, rm, rmdir, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { SkerryError } from '../../errors/skerry-error.ts';
import { run } from '../../platform/command.ts';
import type { PlacedMount } from '../oci/mounts.ts';
import { GUEST_BIN_DIR, GUEST_RUN_DIR } from '../paths.ts';

/** The name that image layers use for "nothing below this directory shows", image-spec/layer.md. */
const WHOLE = '.wh..wh..opq';
const DEVICES = ['full', 'null', 'random', 'tty', 'urandom', 'zero'];
/** Files of ours over which nothing of the image shows. */
const ETC_FILES = ['hosts', 'hostname'];

export interface FakeRoot {
  readonly root: string;
  readonly binDir: string;
  readonly socketDir: string;
  readonly etcDir: string;
}

/** Fills `root` with the layers, lowest first. */
export async function copyLayers(root: string, layers: readonly string[]): Promise<void> {
  await mkdir(root, { recursive: true, mode: 0o755 });
  const marks = await Promise.all(layers.map((layer) => exists(join(layer, WHOLE))));
  for (const layer of layers.slice(Math.max(0, marks.lastIndexOf(true)))) {
    await run(['cp', '-a', '--reflink=auto', '-T', layer, root]);
  }
  await rm(join(root, WHOLE), { force: true });
  // `cp` gives the root the modes of the layer, which may be a private directory of the server.
  await chmod(root, 0o755);
}

/** Makes the mount points and returns what to mount there, as fstab(5) has it. */
export async function mountTable(
  { root, binDir, socketDir, etcDir }: FakeRoot,
  hostname: string,
  mounts: readonly PlacedMount[],
): Promise<string> {
  const lines: string[] = [];
  const add = (source: string, target: string, type: string, options: string) =>
    lines.push([source, join(root, target), type, options].map(escaped).join(' ').concat(' 0 0'));
  const directories = ['/proc', '/dev/pts', '/dev/shm', '/etc', '/tmp', GUEST_BIN_DIR, GUEST_RUN_DIR];
  for (const directory of directories) await mkdir(join(root, directory), { recursive: true });
  await Promise.all(['/tmp', '/dev/shm'].map((directory) => chmod(join(root, directory), 0o1777)));
  const files = [...DEVICES.map((name) => `/dev/${name}`), ...ETC_FILES.map((name) => `/etc/${name}`)];
  await Promise.all(files.map((file) => writeFile(join(root, file), '', { flag: 'a' })));
  await rm(join(root, '/dev/ptmx'), { force: true });
  await run(['ln', '-s', 'pts/ptmx', join(root, '/dev/ptmx')]);
  await mkdir(etcDir, { recursive: true });
  await writeFile(join(etcDir, 'hosts'), `127.0.0.1\tlocalhost\n127.0.0.1\t${hostname}\n`);
  await writeFile(join(etcDir, 'hostname'), `${hostname}\n`);

  add('proc', '/proc', 'proc', 'nosuid,nodev,noexec');
  add('devpts', '/dev/pts', 'devpts', 'newinstance,ptmxmode=0666,mode=0620');
  for (const name of DEVICES) add(`/dev/${name}`, `/dev/${name}`, 'none', 'bind');
  for (const name of ETC_FILES) add(join(etcDir, name), `/etc/${name}`, 'none', 'bind');
  add(binDir, GUEST_BIN_DIR, 'none', 'bind,ro');
  add(socketDir, GUEST_RUN_DIR, 'none', 'bind,ro');
  for (const { source, target, readOnly } of mounts) {
    const at = join(root, target);
    if ((await stat(source).catch(() => undefined))?.isFile() === true) {
      await mkdir(dirname(at), { recursive: true });
      await writeFile(at, '', { flag: 'a' });
    } else await mkdir(at, { recursive: true });
    add(source, target, 'none', readOnly ? 'bind,ro' : 'bind');
  }
  return `${lines.join('\n')}\n`;
}

/** Gives the files away as a layer: moved, or copied while the instance goes on. */
export async function takeLayer(root: string, directory: string, move: boolean): Promise<void> {
  if (await exists(directory)) {
    throw new SkerryError('internal', `The layer's directory ${directory} exists already.`);
  }
  if (move) await rename(root, directory);
  else await run(['cp', '-a', '--reflink=auto', '-T', root, directory]);
  await rm(join(directory, '/__modal'), { recursive: true, force: true });
  await rm(join(directory, '/dev'), { recursive: true, force: true });
  for (const name of ETC_FILES) {
    const path = join(directory, 'etc', name);
    if ((await stat(path).catch(() => undefined))?.size === 0) await rm(path);
  }
  for (const name of ['proc', 'etc']) await rmdir(join(directory, name)).catch(() => {}); // ours only when empty
  await writeFile(join(directory, WHOLE), '');
}

const exists = (path: string): Promise<boolean> =>
  stat(path).then(
    () => true,
    () => false,
  );

/** White space and backslashes in a field, fstab(5). */
const escaped = (field: string): string =>
  field.replaceAll(/[\s\\]/g, (character) => `\\${character.charCodeAt(0).toString(8).padStart(3, '0')}`);

/** Names in a directory, none when it is not there. */
export const namesIn = (directory: string): Promise<string[]> => readdir(directory).catch(() => []);
