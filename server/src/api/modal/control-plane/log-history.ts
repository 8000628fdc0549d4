/**
 * What sandboxes have logged so far: lines of their entrypoints' output and what Skerry says about them. A line has the time when its last byte came; output of
 * sandboxes that an earlier version of Skerry started has the time when they were, in order. And what builds of images have logged.
 */
import type { BuildLogEntry } from '../../../images/image.ts';
import type { Sandbox } from '../../../sandboxes/sandboxes.ts';
import { FileDescriptor } from '../gen/modal/common_pb.ts';
import { currentLines } from './log-text.ts';

export interface LogEntry {
  readonly taskId: string;
  /** Empty of a build. */
  readonly sandboxId: string;
  readonly timeNs: bigint;
  readonly source: FileDescriptor;
  readonly text: string;
}

export interface LogQuery {
  /** Both inclusive and exclusive bounds as the clients use them: from `sinceNs`, before `untilNs`. */
  readonly sinceNs: bigint;
  readonly untilNs: bigint;
  /** UNSPECIFIED is all. */
  readonly source: FileDescriptor;
  /** Case-sensitive; '' matches all. */
  readonly searchText: string;
}

/** Of each stream of a sandbox, the last this many bytes are looked at. */
const MAX_STREAM_BYTES = 8 << 20;
/** Entries kept while looking through many sandboxes, and the most one answer may have. */
export const MAX_ENTRIES = 20_000;
/** Text of one answer, well below the clients' 100 MiB. */
const MAX_ANSWER_BYTES = 32 << 20;

/** The last `limit` entries of the sandboxes that match, oldest first. */
export async function logHistory(
  sandboxes: readonly Sandbox[],
  query: LogQuery,
  limit: number,
  signal: AbortSignal,
): Promise<LogEntry[]> {
  let found: LogEntry[] = [];
  for (const sandbox of sandboxes) {
    const more = (await entriesOf(sandbox, query, signal)).slice(-limit);
    found = [...found, ...more].sort(byTime).slice(-limit);
  }
  return withinBytes(found);
}

/** The same of the build that has this log and goes by this task id. */
export function buildHistory(
  log: readonly BuildLogEntry[],
  taskId: string,
  { sinceNs, untilNs, source, searchText }: LogQuery,
  limit: number,
): LogEntry[] {
  const entries = log.flatMap(({ timeMs, stream, text }) =>
    // A nanosecond apart, like those of a sandbox.
    lines(text).map((line, index) => ({
      taskId,
      sandboxId: '',
      timeNs: toNs(timeMs) + BigInt(index),
      source: buildStreams[stream],
      text: line,
    })),
  );
  const matching = entries.filter(
    (entry) =>
      entry.timeNs >= sinceNs &&
      entry.timeNs < untilNs &&
      (source === FileDescriptor.UNSPECIFIED || source === entry.source) &&
      entry.text.includes(searchText),
  );
  return withinBytes(matching.slice(-limit));
}

/** Which stream of a task what a build says is in. */
export const buildStreams = {
  stdout: FileDescriptor.STDOUT,
  stderr: FileDescriptor.STDERR,
  system: FileDescriptor.INFO,
} as const satisfies Record<BuildLogEntry['stream'], FileDescriptor>;

async function entriesOf(sandbox: Sandbox, query: LogQuery, signal: AbortSignal): Promise<LogEntry[]> {
  const wants = (source: FileDescriptor) =>
    query.source === FileDescriptor.UNSPECIFIED || query.source === source;
  const startedNs = toNs(sandbox.startedAtMs ?? sandbox.createdAtMs);
  const entries: LogEntry[] = [];
  const add = (timeNs: bigint, source: FileDescriptor, text: string) => {
    if (timeNs < query.sinceNs || timeNs >= query.untilNs || !text.includes(query.searchText)) return;
    entries.push({ taskId: sandbox.taskId, sandboxId: sandbox.id, timeNs, source, text });
  };
  const streams = [
    [FileDescriptor.STDOUT, sandbox.stdout],
    [FileDescriptor.STDERR, sandbox.stderr],
  ] as const;
  for (const [source, output] of streams) {
    if (!wants(source)) continue;
    let last = 0n;
    for (const { text, timeMs } of await currentLines(output, MAX_STREAM_BYTES, signal)) {
      const timeNs = timeMs === undefined ? startedNs : toNs(timeMs);
      // A nanosecond apart: the order of lines survives sorting.
      last = timeNs > last ? timeNs : last + 1n;
      add(last, source, text);
    }
  }
  if (wants(FileDescriptor.INFO)) {
    for (const { timeMs, text } of sandbox.events()) add(toNs(timeMs), FileDescriptor.INFO, `${text}\n`);
  }
  return entries.sort(byTime);
}

/** Lines with their line feed, and a last one without. */
function lines(text: string): string[] {
  return text === '' ? [] : text.split(/(?<=\n)/);
}

export const toNs = (ms: number): bigint => BigInt(Math.round(ms)) * 1_000_000n;

const byTime = (a: LogEntry, b: LogEntry): number => (a.timeNs < b.timeNs ? -1 : a.timeNs > b.timeNs ? 1 : 0);

/** Drops the oldest entries beyond what one answer may hold. */
function withinBytes(entries: LogEntry[]): LogEntry[] {
  let bytes = 0;
  for (let index = entries.length - 1; index >= 0; index--) {
    bytes += Buffer.byteLength(entries[index]?.text ?? '');
    if (bytes > MAX_ANSWER_BYTES) return entries.slice(index + 1);
  }
  return entries;
}
