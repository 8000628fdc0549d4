/** What Node does not decompress, by the machine's programs: as nobody and with no capability, since what they read may be hostile (decision 0048). */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { raw } from '../../platform/byte-paths.ts';
import { baseEnvironment } from '../../platform/command.ts';
import { findProgram } from '../../platform/find-program.ts';
import { EditError } from './edit.ts';

export type Packer = 'xz' | 'bzip2';

/** xz's largest preset needs 65 MiB; a file may ask for 4 GiB. */
const MAX_MEMORY = '256MiB';
const PROGRAMS: Readonly<Record<Packer, { readonly package: string; readonly argv: readonly string[] }>> = {
  xz: {
    package: 'xz-utils',
    argv: ['xz', '--decompress', '--stdout', '--threads=1', `--memlimit-decompress=${MAX_MEMORY}`],
  },
  bzip2: { package: 'bzip2', argv: ['bzip2', '--decompress', '--stdout'] },
};
const NOBODY = 65_534;
const AS_NOBODY = [
  'setpriv',
  ...[`--reuid=${NOBODY}`, `--regid=${NOBODY}`, '--clear-groups', '--no-new-privs'],
  ...['--inh-caps=-all', '--bounding-set=-all', '--'],
];
const MAX_WORDS = 1000;

/** @throws EditError for what needs too much memory, and where the machine lacks the program; Error, in the program's words, for what is damaged */
export async function* decompressedBy(packer: Packer, file: string): AsyncGenerator<Buffer> {
  const program = PROGRAMS[packer];
  if (!findProgram(packer))
    throw new EditError(
      `what is compressed with ${packer} needs that program on Skerry's machine: install Debian's package ${program.package} there, or pack it with gzip or zstd`,
    );
  const [setpriv = '', ...args] = [...AS_NOBODY, ...program.argv];
  const fd = openSync(raw(file), 'r');
  const child = spawn(setpriv, args, { env: baseEnvironment(), stdio: [fd, 'pipe', 'pipe'] });
  closeSync(fd);
  const ended = once(child, 'close');
  ended.catch(() => {}); // awaited below
  let words = '';
  child.stderr?.on('data', (chunk: Buffer) => {
    words = `${words}${chunk}`.slice(0, MAX_WORDS);
  });
  try {
    if (child.stdout) yield* child.stdout;
    const [code] = await ended;
    if (/memory/i.test(words))
      throw new EditError(`what is compressed with ${packer} needs more than ${MAX_MEMORY} to unpack`);
    if (code !== 0) throw new Error(words.trim());
  } finally {
    child.kill('SIGKILL');
    await ended;
  }
}
