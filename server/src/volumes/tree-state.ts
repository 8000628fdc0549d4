/** What is remembered of a working tree between two looks at it, so that each change becomes part of a version once. */
import type { BigIntStats } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import { errorCode } from '../platform/error-code.ts';
import { replaceFile } from '../platform/replace-file.ts';
import type { VolumePath } from './paths.ts';

/** What was in the writable layer of the overlay and is in the volume's versions, or came from there: a mark of each entry by its path. */
export type TreeState = Map<string, string>;

export const keyOf = (path: VolumePath): string => path.join('/');
export const pathOf = (key: string): VolumePath => key.split('/');

export type EntryKind = 'directory' | 'file' | 'link' | 'other';

/** An entry of the writable layer as it was at some time. Times in nanoseconds since 1970. */
export interface Entry {
  readonly kind: EntryKind;
  readonly ino: string;
  readonly ctimeNs: string;
  readonly mtimeNs: string;
  readonly size: string;
  /** Permission bits, octal. */
  readonly mode: string;
  readonly uid: string;
  readonly gid: string;
}

/**
 * Another mark tells another entry. Of a directory when it changed is told apart from what is its own: it does so with what comes and goes in it. A file that a reload put there has an old time of
 * change of its own content, so that a write within the same clock tick shows.
 */
export function markOf({ kind, ino, ctimeNs, mtimeNs, size, mode, uid, gid }: Entry): string {
  switch (kind) {
    case 'directory':
      return `${kind} ${ino} ${mode} ${uid} ${gid} ${ctimeNs}`;
    case 'file':
    case 'link':
      return `${kind} ${ino} ${ctimeNs} ${mtimeNs} ${size}`;
    case 'other':
      return 'other'; // a whiteout, which is one inode with all others, or what no version has
    default:
      return kind satisfies never;
  }
}

/** What the mark of a directory says; undefined for that of something else. */
export function readDirectoryMark(mark: string | undefined) {
  const [kind, ino, mode, uid, gid, ctimeNs] = mark?.split(' ') ?? [];
  if (kind !== 'directory') return undefined;
  // Earlier versions did not say when it changed.
  return { ino, own: `${mode} ${uid} ${gid}`, ctimeNs: ctimeNs === undefined ? undefined : BigInt(ctimeNs) };
}

/** A mark that no entry has: it is looked at again. */
export const UNSETTLED = 'unsettled';

export function entryOf(stats: BigIntStats): Entry {
  const kind = stats.isDirectory()
    ? 'directory'
    : stats.isFile()
      ? 'file'
      : stats.isSymbolicLink()
        ? 'link'
        : 'other';
  return {
    kind,
    ino: String(stats.ino),
    ctimeNs: String(stats.ctimeNs),
    mtimeNs: String(stats.mtimeNs),
    size: String(stats.size),
    mode: (stats.mode & 0o7777n).toString(8),
    uid: String(stats.uid),
    gid: String(stats.gid),
  };
}

const stateSchema = z.array(z.tuple([z.string(), z.string()]));

/** A state that was saved; an empty one when none was. */
export async function readTreeState(file: string): Promise<TreeState> {
  let text: string;
  try {
    text = await readFile(file, 'latin1');
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return new Map();
    throw error;
  }
  return new Map(stateSchema.parse(JSON.parse(text)));
}

/** Saves one for `readTreeState`. */
export const writeTreeState = (file: string, state: TreeState): Promise<void> =>
  replaceFile(file, JSON.stringify([...state]), { encoding: 'latin1' });
