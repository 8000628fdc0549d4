/** Trees of files between this machine and a volume. Sandboxes have written what it holds: nothing of that leads out of where it is copied to. */
import { once } from 'node:events';
import { createReadStream } from 'node:fs';
import { lstat, mkdir, open, readdir, stat } from 'node:fs/promises';
import { basename, dirname, join, posix, resolve } from 'node:path';
import { Readable } from 'node:stream';
import type { Volume } from '../../../sdk/src/index.ts';
import { CliError, ExitStatus } from '../cli-error.ts';
import { printable } from '../printable.ts';
import { safeName } from './copy.ts';

const said = (path: string, what: string): void =>
  void process.stderr.write(`skerry: ${printable(path)}: ${what}\n`);

/** @throws CliError, SkerryError, errors of the system */
export async function getFromVolume(volume: Volume, path: string, to: string): Promise<void> {
  const from = posix.join('/', path).replace(/\/+$/, '');
  if (to === '-') {
    for await (const piece of await volume.readStream(from)) {
      if (!process.stdout.write(piece)) await once(process.stdout, 'drain');
    }
    return;
  }
  const entries = await volume.files(from, { recursive: true });
  const there = await stat(to).catch(() => undefined);
  const target = there?.isDirectory() ? join(to, posix.basename(from) || volume.name) : to;
  const [first] = entries;
  if (first?.path === from && first.type === 'file') return getFile(volume, from, target);
  await mkdir(target, { recursive: true });
  for (const { path, type } of entries) {
    const name = join(
      target,
      ...path
        .slice(from.length + 1)
        .split('/')
        .map(safeName),
    );
    if (type === 'directory') await mkdir(name, { recursive: true });
    else if (type === 'symlink') said(path, 'a link, which is not copied');
    else {
      await mkdir(dirname(name), { recursive: true });
      await getFile(volume, path, name);
    }
  }
}

async function getFile(volume: Volume, from: string, to: string): Promise<void> {
  const content = await volume.readStream(from);
  await using file = await open(to, 'w');
  for await (const piece of content) await file.writeFile(piece);
}

/** @param path with a slash at its end the directory that it goes into @throws CliError, SkerryError, errors of the system */
export async function putIntoVolume(volume: Volume, from: string, path: string): Promise<void> {
  if (from === '-') {
    if (path.endsWith('/')) throw new CliError('Say what it is to be called.', ExitStatus.usage);
    return volume.write(path, toWeb(process.stdin));
  }
  await putTree(volume, from, path.endsWith('/') ? posix.join(path, basename(resolve(from))) : path);
}

async function putTree(volume: Volume, from: string, to: string): Promise<void> {
  const what = await lstat(from).catch((error: NodeJS.ErrnoException) => {
    throw error.code === 'ENOENT' ? new CliError(`There is no ${from}.`) : error;
  });
  if (what.isFile()) await volume.write(to, toWeb(createReadStream(from)));
  else if (what.isDirectory()) {
    for (const name of await readdir(from)) await putTree(volume, join(from, name), posix.join(to, name));
  } else said(from, 'neither a file nor a directory, and not copied');
}

/** The types of Node's streams of the web differ from the DOM's in name only. */
const toWeb = (stream: Readable) => Readable.toWeb(stream) as ReadableStream<Uint8Array>;
