/** Trees of files between this machine and a sandbox. What a sandbox says of its files is hostile: nothing of it leads out of where it is copied to. */
import { createReadStream } from 'node:fs';
import { lstat, mkdir, open, readdir, readlink, stat, symlink } from 'node:fs/promises';
import { basename, join, posix } from 'node:path';
import { Readable } from 'node:stream';
import type { FileEntry, Sandbox, SandboxFiles } from '../../../sdk/src/index.ts';
import { CliError } from '../cli-error.ts';

const EXECUTABLE = 0o111;
/** Paths of one call of chmod. */
const CHMOD_BATCH = 500;

/** @throws CliError, SkerryError, errors of the system */
export async function download(files: SandboxFiles, from: string, to: string): Promise<void> {
  const type = await files.type(from);
  if (type === null) throw new CliError(`There is no ${from} in the sandbox.`);
  const there = await stat(to).catch(() => undefined);
  const target = there?.isDirectory() ? join(to, safeName(posix.basename(from))) : to;
  if (type === 'file') return downloadFile(files, from, target, undefined);
  if (type === 'symlink') {
    const entry = (await files.list(posix.dirname(from))).find(({ path }) => path === from);
    return makeLink(entry?.symlinkTarget ?? '', target);
  }
  // Links come last: nothing is written through one.
  const links: [string, string][] = [];
  await downloadDirectory(files, from, target, links);
  for (const [content, path] of links) await makeLink(content, path);
}

async function downloadDirectory(
  files: SandboxFiles,
  from: string,
  to: string,
  links: [string, string][],
): Promise<void> {
  await mkdir(to, { recursive: true });
  for (const entry of await files.list(from)) {
    const [path, target] = [posix.join(from, entry.name), join(to, safeName(entry.name))];
    if (entry.type === 'directory') await downloadDirectory(files, path, target, links);
    else if (entry.type === 'symlink') links.push([entry.symlinkTarget ?? '', target]);
    else await downloadFile(files, path, target, entry);
  }
}

async function downloadFile(
  files: SandboxFiles,
  from: string,
  to: string,
  entry: FileEntry | undefined,
): Promise<void> {
  const content = await files.readStream(from);
  await using file = await open(to, 'w');
  for await (const piece of content) await file.writeFile(piece);
  const known =
    entry ?? (await files.list(posix.dirname(from))).find(({ name }) => name === posix.basename(from));
  if (known && (Number.parseInt(known.permissions, 8) & EXECUTABLE) !== 0) {
    await file.chmod(((await file.stat()).mode & 0o777) | EXECUTABLE);
  }
}

async function makeLink(content: string, path: string): Promise<void> {
  await symlink(content, path).catch((error: NodeJS.ErrnoException) => {
    throw error.code === 'EEXIST' ? new CliError(`${path} is there already.`) : error;
  });
}

/** A name that is made here. @throws CliError for what would lead elsewhere */
export function safeName(name: string): string {
  if (name !== '' && name !== '.' && name !== '..' && !/[/\0]/.test(name)) return name;
  throw new CliError(`A file there is named ${JSON.stringify(name)}, which is no name.`);
}

/** @throws CliError, SkerryError, errors of the system */
export async function upload(sandbox: Sandbox, from: string, to: string): Promise<void> {
  const { files } = sandbox;
  const intoDirectory = to.endsWith('/') || (await files.type(to)) === 'directory';
  const target = intoDirectory ? posix.join(to, basename(join(process.cwd(), from))) : to;
  const executable: string[] = [];
  const links: [string, string][] = [];
  await uploadTree(files, from, target, executable, links);
  for (let at = 0; at < executable.length; at += CHMOD_BATCH) {
    await sandbox.exec(['chmod', 'a+x', '--', ...executable.slice(at, at + CHMOD_BATCH)]).text();
  }
  for (const [content, path] of links) await sandbox.exec(['ln', '-s', '--', content, path]).text();
}

async function uploadTree(
  files: SandboxFiles,
  from: string,
  to: string,
  executable: string[],
  links: [string, string][],
): Promise<void> {
  const what = await lstat(from).catch((error: NodeJS.ErrnoException) => {
    throw error.code === 'ENOENT' ? new CliError(`There is no ${from}.`) : error;
  });
  if (what.isSymbolicLink()) {
    links.push([await readlink(from), to]);
  } else if (what.isDirectory()) {
    await files.mkdir(to);
    for (const name of await readdir(from)) {
      await uploadTree(files, join(from, name), posix.join(to, name), executable, links);
    }
  } else if (what.isFile()) {
    // The types of Node's streams of the web differ from the DOM's in name only.
    const content = Readable.toWeb(createReadStream(from)) as ReadableStream<Uint8Array>;
    await files.write(to, content);
    if ((what.mode & EXECUTABLE) !== 0) executable.push(to);
  } else {
    throw new CliError(`${from} is neither a file nor a directory nor a link.`);
  }
}
