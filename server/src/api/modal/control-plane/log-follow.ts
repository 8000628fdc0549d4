/**
 * Live logs of one sandbox or of all of an app, resumable: every batch names, in its entry id, how far each sandbox was delivered, since clients
 * re-open the stream about every minute.
 */

import { FanIn } from '../../../platform/fan-in.ts';
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
}

type Stream = 'stdout' | 'stderr';

/** What a reader of many streams hears: text, that a stream has ended, and that it is time to look for news. */
type News =
  | {
      readonly kind: 'text';
      readonly followed: Followed;
      readonly stream: Stream;
      readonly text: string;
      readonly endOffset: number;
    }
  | { readonly kind: 'end' }
  | { readonly kind: 'tick' };

/** How often new sandboxes and Skerry's own lines are looked for. */
const TICK_MS = 1000;
const MAX_FOLLOWED = 512;
const MAX_ENTRY_ID_LENGTH = 64 << 10;

export async function* followLogs(options: FollowOptions): AsyncGenerator<LiveEntry> {
  const { source } = options;
  const left = new AbortController();
  const signal = AbortSignal.any([options.signal, left.signal]);
  const resume = parseEntryId(options.after);
  const followed = new Map<string, Followed>();
  const wants = (one: FileDescriptor) => source === FileDescriptor.UNSPECIFIED || source === one;
  const entryId = () => formatEntryId(followed.values());
  const news = new FanIn<News>();
  let open = 0;

  const listen = (one: Followed, stream: Stream) => {
    open++;
    news.add(read(one, stream, signal));
  };
  const adopt = () => {
    for (const sandbox of options.find()) {
      if (followed.has(sandbox.taskId) || followed.size >= MAX_FOLLOWED) continue;
      const cursor = resume.get(sandbox.taskId) ?? { stdout: 0, stderr: 0, events: 0 };
      const one = { sandbox, cursor };
      followed.set(sandbox.taskId, one);
      if (wants(FileDescriptor.STDOUT)) listen(one, 'stdout');
      if (wants(FileDescriptor.STDERR)) listen(one, 'stderr');
    }
  };

  adopt();
  news.add(ticks(signal));
  try {
    for await (const item of news) {
      if (item.kind === 'text') {
        const { sandbox, cursor } = item.followed;
        cursor[item.stream] = item.endOffset;
        const fd = item.stream === 'stdout' ? FileDescriptor.STDOUT : FileDescriptor.STDERR;
        yield { sandbox, source: fd, timeMs: options.now(), text: item.text, entryId: entryId() };
        continue;
      }
      if (item.kind === 'end') {
        open--;
        // It may have been the last: that is seen at once.
        if (!options.complete()) continue;
      }
      adopt();
      for (const { sandbox, cursor } of wants(FileDescriptor.INFO) ? followed.values() : []) {
        for (const { timeMs, text } of sandbox.events().slice(cursor.events)) {
          cursor.events++;
          yield { sandbox, source: FileDescriptor.INFO, timeMs, text: `${text}\n`, entryId: entryId() };
        }
      }
      if (open === 0 && options.complete()) return;
    }
  } finally {
    left.abort();
  }
}

async function* read(followed: Followed, stream: Stream, signal: AbortSignal): AsyncGenerator<News> {
  const { sandbox, cursor } = followed;
  for await (const piece of followText(sandbox[stream], cursor[stream], signal)) {
    yield { kind: 'text', followed, stream, ...piece };
  }
  yield { kind: 'end' };
}

async function* ticks(signal: AbortSignal): AsyncGenerator<News> {
  for (;;) {
    yield { kind: 'tick' };
    await delay(TICK_MS, signal);
  }
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
