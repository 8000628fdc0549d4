/**
 * Live logs of one sandbox or of all of an app, resumable: every batch names, in its entry id, how far each sandbox was delivered, since clients
 * re-open the stream about every minute.
 */

import { delay } from '../../../platform/wait.ts';
import type { Sandbox } from '../../../sandboxes/sandboxes.ts';
import { FileDescriptor } from '../gen/modal/common_pb.ts';
import { followText } from './log-text.ts';

export interface LiveEntry {
  readonly sandbox: Sandbox;
  readonly source: FileDescriptor;
  readonly timeMs: number;
  readonly text: string;
  /** Where to go on after this entry. */
  readonly entryId: string;
}

export interface FollowOptions {
  /** The sandboxes to follow now; asked again about every second. */
  readonly find: () => readonly Sandbox[];
  /** Entry id of the last batch the client has, '' at first. */
  readonly after: string;
  /** UNSPECIFIED is all. */
  readonly source: FileDescriptor;
  /** True once nothing will be added to what `find` gave: then the stream ends when all is delivered. */
  readonly complete: () => boolean;
  readonly now: () => number;
  /** Ends the stream. */
  readonly signal: AbortSignal;
}

/** Delivered so far: bytes of stdout and stderr, and lines of Skerry's own. */
interface Cursor {
  stdout: number;
  stderr: number;
  events: number;
}

interface Followed {
  readonly sandbox: Sandbox;
  readonly cursor: Cursor;
  /** The next piece of each stream that has not ended. */
  readonly pending: Map<'stdout' | 'stderr', Promise<LiveText | undefined>>;
}

interface LiveText {
  readonly followed: Followed;
  readonly stream: 'stdout' | 'stderr';
  readonly text: string;
  readonly endOffset: number;
  readonly again: () => void;
}

/** How often new sandboxes and Skerry's own lines are looked for. */
const TICK_MS = 1000;
const MAX_FOLLOWED = 512;
const MAX_ENTRY_ID_LENGTH = 64 << 10;

export async function* followLogs(options: FollowOptions): AsyncGenerator<LiveEntry> {
  const { signal, source } = options;
  const resume = parseEntryId(options.after);
  const followed = new Map<string, Followed>();
  const wants = (one: FileDescriptor) => source === FileDescriptor.UNSPECIFIED || source === one;
  const entryId = () => formatEntryId(followed.values());

  const adopt = () => {
    for (const sandbox of options.find()) {
      if (followed.has(sandbox.taskId) || followed.size >= MAX_FOLLOWED) continue;
      const cursor = resume.get(sandbox.taskId) ?? { stdout: 0, stderr: 0, events: 0 };
      const entry: Followed = { sandbox, cursor, pending: new Map() };
      followed.set(sandbox.taskId, entry);
      if (wants(FileDescriptor.STDOUT)) listen(entry, 'stdout', signal);
      if (wants(FileDescriptor.STDERR)) listen(entry, 'stderr', signal);
    }
  };

  adopt();
  let tick = delay(0, signal);
  for (;;) {
    const waiting = [...followed.values()].flatMap(({ pending }) => [...pending.values()]);
    tick.catch(() => {}); // looked at in the race; a loser's rejection is not unhandled
    const next = await Promise.race([...waiting, tick.then(() => 'tick' as const)]);
    if (next === 'tick') {
      adopt();
      for (const { sandbox, cursor } of wants(FileDescriptor.INFO) ? followed.values() : []) {
        for (const { timeMs, text } of sandbox.events().slice(cursor.events)) {
          cursor.events++;
          yield { sandbox, source: FileDescriptor.INFO, timeMs, text: `${text}\n`, entryId: entryId() };
        }
      }
      const idle = [...followed.values()].every(({ pending }) => pending.size === 0);
      if (idle && options.complete()) return;
      tick = delay(TICK_MS, signal);
    } else if (next) {
      const { cursor, sandbox } = next.followed;
      cursor[next.stream] = next.endOffset;
      next.again();
      const fd = next.stream === 'stdout' ? FileDescriptor.STDOUT : FileDescriptor.STDERR;
      yield { sandbox, source: fd, timeMs: options.now(), text: next.text, entryId: entryId() };
    } else if (options.complete()) {
      // A stream came to its end: see at once whether it was the last.
      tick = delay(0, signal);
    }
  }
}

/** Keeps one pending piece of the stream in `pending` until it ends. */
function listen(followed: Followed, stream: 'stdout' | 'stderr', signal: AbortSignal): void {
  const pieces = followText(followed.sandbox[stream], followed.cursor[stream], signal);
  const ask = () => {
    const piece = pieces.next().then(({ done, value }): LiveText | undefined => {
      if (!done) return { followed, stream, ...value, again: ask };
      followed.pending.delete(stream);
      return undefined;
    });
    piece.catch(() => {}); // an abort rejects all of them; the race reports the first
    followed.pending.set(stream, piece);
  };
  ask();
}

function formatEntryId(followed: Iterable<Followed>): string {
  return [...followed]
    .map(({ sandbox, cursor }) => `${sandbox.taskId}:${cursor.stdout}:${cursor.stderr}:${cursor.events}`)
    .join(',');
}

/** What cannot be read counts as the beginning: entry ids come back from clients. */
function parseEntryId(entryId: string): Map<string, Cursor> {
  const result = new Map<string, Cursor>();
  if (entryId.length > MAX_ENTRY_ID_LENGTH) return result;
  for (const part of entryId.split(',')) {
    const match = /^(ta-[A-Za-z0-9]+):(\d{1,15}):(\d{1,15}):(\d{1,15})$/.exec(part);
    const [, taskId = '', stdout, stderr, events] = match ?? [];
    if (match) result.set(taskId, { stdout: Number(stdout), stderr: Number(stderr), events: Number(events) });
  }
  return result;
}

/** Task ids of an entry id: sandboxes a reader has begun with and wants to the end. */
export const tasksOf = (entryId: string): ReadonlySet<string> => new Set(parseEntryId(entryId).keys());
