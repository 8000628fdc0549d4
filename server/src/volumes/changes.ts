/**
 * What a sandbox changed in its working tree of a volume since the last look: read from the writable layer of the overlay, while the sandbox may go on
 * changing it. Nothing here needs extended attributes, which Node cannot read: whether a directory hides what is below it shows in what the overlay shows.
 */

import { UNFINISHED_COPY } from '../engines/references.ts';
import { Beneath } from '../platform/beneath.ts';
import { raw } from '../platform/byte-paths.ts';
import { run } from '../platform/command.ts';
import type { LayerTree } from './layer-tree.ts';
import type { VolumePath } from './paths.ts';
import {
  type Entry,
  type EntryKind,
  keyOf,
  markOf,
  pathOf,
  readDirectoryMark,
  type TreeState,
} from './tree-state.ts';
import { tooManyFiles } from './volume-errors.ts';
import { MAX_VOLUME_FILES } from './volumes.ts';

export interface Changes {
  /** Names that are gone. */
  readonly removed: readonly VolumePath[];
  /** New or changed directories, files and links; each directory before what it holds. */
  readonly written: readonly Written[];
  /** To be kept once these are in a version. */
  readonly next: TreeState;
}

export interface Written {
  readonly path: VolumePath;
  readonly entry: Entry;
}

export interface Look {
  /** The overlay's writable layer, a byte string. */
  readonly upper: string;
  /** What the overlay shows. */
  readonly shown: Beneath;
  /** The layers it was mounted over. */
  readonly base: LayerTree;
  readonly state: TreeState;
}

const LOOK_TIMEOUT_MS = 10 * 60_000;

/** @throws SkerryError `too-large` */
export async function findChanges({ upper, shown, base, state }: Look): Promise<Changes> {
  await using writable = await Beneath.open(upper);
  const entries = await listEntries(upper);
  const removed: VolumePath[] = [];
  const written: Written[] = [];
  const next: TreeState = new Map();
  for (const [key, entry] of entries) {
    if (key === UNFINISHED_COPY) continue;
    const mark = markOf(entry);
    next.set(key, mark);
    const before = state.get(key);
    if (before === mark) continue;
    const path = pathOf(key);
    if (entry.kind === 'other') {
      removed.push(path);
      continue;
    }
    if (entry.kind !== 'directory') {
      written.push({ path, entry });
      continue;
    }
    const known = readDirectoryMark(before);
    const isSame = known?.ino === entry.ino && !(await isMadeSince(known.ctimeNs, writable, path));
    if (!isSame || known.own !== readDirectoryMark(mark)?.own) written.push({ path, entry });
    if (!isSame) removed.push(...(await hiddenIn(path, entries, shown, base)));
  }
  const gone = new Set(removed.map(keyOf));
  for (const key of [...state.keys()].sort()) {
    if (entries.has(key)) continue;
    if (gone.has(parentOf(key))) {
      gone.add(key); // with what it was in
    } else if (!(await shown.find(pathOf(key)))) {
      // Else it was missed, because what it is in was moved just then.
      gone.add(key);
      removed.push(pathOf(key));
    }
  }
  return { removed, written, next };
}

/** Whether it is another directory than the one that last changed then: the numbers of inodes that are gone are given out again at once. */
async function isMadeSince(
  changedNs: bigint | undefined,
  writable: Beneath,
  path: VolumePath,
): Promise<boolean> {
  const found = changedNs === undefined ? undefined : await writable.find(path);
  // Where a file system does not tell it is 0.
  return found !== undefined && changedNs !== undefined && found.birthtimeNs > changedNs;
}

/** A directory that was removed and made anew hides what the layers below have in it, without a whiteout for each. */
async function hiddenIn(
  path: VolumePath,
  entries: ReadonlyMap<string, Entry>,
  shown: Beneath,
  base: LayerTree,
): Promise<VolumePath[]> {
  const node = await base.lookup(path);
  if (node?.kind !== 'directory') return [];
  await using opened = new AsyncDisposableStack();
  const names = new Set(await (await shown.enter(path, opened))?.names());
  return (await base.children(node))
    .map(([name]) => [...path, name])
    .filter((below) => !entries.has(keyOf(below)) && !names.has(below.at(-1) ?? ''));
}

const parentOf = (key: string): string => key.slice(0, Math.max(0, key.lastIndexOf('/')));

const kinds: Readonly<Record<string, EntryKind>> = { d: 'directory', f: 'file', l: 'link' };

/**
 * Everything in a directory that somebody changes meanwhile, by path. find(1) follows no link, and reads a tree of many thousand files in the time in which
 * Node would read some hundred.
 */
async function listEntries(directory: string): Promise<ReadonlyMap<string, Entry>> {
  const chunks: Buffer[] = [];
  let count = 0;
  const collect = (chunk: Buffer) => {
    for (let at = chunk.indexOf(0); at >= 0; at = chunk.indexOf(0, at + 1)) count++;
    // More than can ever be a version: the sandbox must not fill our memory with their names.
    if (count > MAX_VOLUME_FILES) throw tooManyFiles();
    chunks.push(chunk);
  };
  const format = '%y\t%i\t%C@\t%T@\t%s\t%m\t%U\t%G\t%P\\0';
  await run(['find', raw(directory).toString(), '-mindepth', '1', '-printf', format], {
    timeoutMs: LOOK_TIMEOUT_MS,
    okCodes: [1], // something went away before it was looked at
    onOutput: (chunk, stream) => stream === 'stdout' && collect(chunk),
    maxOutputBytes: 4096,
  });
  const entries = new Map<string, Entry>();
  for (const line of Buffer.concat(chunks).toString('latin1').split('\0')) {
    const [type = '', ino = '', ctime = '', mtime = '', size = '', mode = '', uid = '', gid = '', ...name] =
      line.split('\t');
    if (name.length === 0) continue; // after the last one
    const kind = kinds[type] ?? 'other';
    const times = { ctimeNs: nanoseconds(ctime), mtimeNs: nanoseconds(mtime) };
    entries.set(name.join('\t'), { kind, ino, ...times, size, mode, uid, gid });
  }
  return entries;
}

/** find(1) prints seconds with ten decimals, the last of which is 0. */
const nanoseconds = (seconds: string): string => {
  const [whole = '', decimals = ''] = seconds.split('.');
  return String(BigInt(whole + decimals.slice(0, 9).padEnd(9, '0')));
};
