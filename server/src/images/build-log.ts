/**
 * A build's log: entries are appended to a file as they come, and any number of readers follow it, during the build, after its end
 * and after a restart of the server.
 */
import { appendFileSync, closeSync, existsSync, mkdirSync, openSync, readSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { ImageId } from '../ids.ts';
import { unlessAborted } from '../platform/wait.ts';
import { Redactor } from '../secrets/redactor.ts';
import type { BuildLogEntry } from './image.ts';
import { OutputSink } from './output-sink.ts';

/** Text of one entry, in UTF-16 units; with four bytes each it stays below the 64 KiB that `BuildLogEntry` promises. */
const MAX_ENTRY = 16_000;
/** Text of one build's log. What comes later is not kept, except what Skerry itself says. */
const MAX_LOG = 16 << 20;

export class BuildLogs {
  readonly #directory: string;
  readonly #now: () => number;
  readonly #open = new Map<ImageId, BuildLog>();

  constructor(directory: string, now: () => number) {
    this.#directory = directory;
    this.#now = now;
    mkdirSync(directory, { recursive: true, mode: 0o700 });
  }

  /** Starts the log of a build. `secrets` never reach it. */
  start(id: ImageId, secrets: readonly string[]): BuildLog {
    const log = new BuildLog(this.#path(id), secrets, this.#now, () => this.#open.delete(id));
    this.#open.set(id, log);
    return log;
  }

  remove(id: ImageId): void {
    rmSync(this.#path(id), { force: true });
  }

  /** Entries after `afterIndex`, in order; ends when the build has ended, throws the signal's reason when aborted. */
  async *read(id: ImageId, afterIndex: number, signal: AbortSignal): AsyncGenerator<BuildLogEntry> {
    const reader = new EntryReader(this.#path(id));
    try {
      for (;;) {
        signal.throwIfAborted();
        // Taken before reading: what is appended after the read resolves it.
        const more = this.#open.get(id)?.changed();
        for (let entries = reader.next(); entries.length > 0; entries = reader.next()) {
          for (const entry of entries) if (entry.index > afterIndex) yield entry;
          signal.throwIfAborted();
        }
        if (!more) return;
        await unlessAborted(more, signal);
      }
    } finally {
      reader.close();
    }
  }

  has(id: ImageId): boolean {
    return existsSync(this.#path(id));
  }

  /** The entries that are there, in order. */
  soFar(id: ImageId): BuildLogEntry[] {
    const reader = new EntryReader(this.#path(id));
    try {
      const entries: BuildLogEntry[] = [];
      for (let more = reader.next(); more.length > 0; more = reader.next()) entries.push(...more);
      return entries;
    } finally {
      reader.close();
    }
  }

  #path(id: ImageId): string {
    return join(this.#directory, `${id}.jsonl`);
  }
}

/** The writing end of one build's log. */
export class BuildLog {
  readonly #path: string;
  readonly #redactor: Redactor;
  readonly #now: () => number;
  readonly #onEnd: () => void;
  #index = 0;
  #size = 0;
  #pending = Promise.withResolvers<void>();

  constructor(path: string, secrets: readonly string[], now: () => number, onEnd: () => void) {
    this.#path = path;
    this.#redactor = new Redactor(secrets);
    this.#now = now;
    this.#onEnd = onEnd;
    appendFileSync(path, '', { mode: 0o600 });
  }

  /** What Skerry has to say, one or more whole lines. */
  say(text: string): void {
    this.#append('system', this.redact(`${text}\n`));
  }

  /** A sink for one program's output: whole lines become entries as they come, the rest with `end()`. @param pass writes so many characters, now or later */
  output(
    stream: 'stdout' | 'stderr',
    pass: (write: () => void, length: number) => void = (write) => write(),
  ): OutputSink {
    const emit = (text: string) => pass(() => this.#append(stream, text), text.length);
    return new OutputSink(emit, this.#redactor.stream());
  }

  redact(text: string): string {
    return this.#redactor.redact(text);
  }

  /** Resolves at the next entry or the end. */
  changed(): Promise<void> {
    return this.#pending.promise;
  }

  end(): void {
    this.#onEnd();
    this.#pending.resolve();
  }

  #append(stream: BuildLogEntry['stream'], clean: string): void {
    const before = this.#size;
    this.#size += clean.length;
    if (stream !== 'system' && this.#size > MAX_LOG) {
      if (before <= MAX_LOG)
        this.#write(
          'system',
          `The log is longer than ${MAX_LOG >> 20} MiB; the rest of the output is not kept.\n`,
        );
      return;
    }
    for (let at = 0; at < clean.length; ) {
      let end = Math.min(at + MAX_ENTRY, clean.length);
      // Never cut between the two halves of a character.
      if (end < clean.length && /[\uD800-\uDBFF]/.test(clean.charAt(end - 1))) end--;
      this.#write(stream, clean.slice(at, end));
      at = end;
    }
  }

  #write(stream: BuildLogEntry['stream'], text: string): void {
    const entry: BuildLogEntry = { index: ++this.#index, timeMs: this.#now(), stream, text };
    try {
      appendFileSync(this.#path, `${JSON.stringify(entry)}\n`);
    } catch {
      // A full or broken disk must neither end the build for its log, nor hide the failure that it causes and the build reports.
    }
    this.#pending.resolve();
    this.#pending = Promise.withResolvers();
  }
}

/** Reads whole lines of a growing file, a bounded piece at a time. */
class EntryReader {
  readonly #path: string;
  #fd: number | undefined;
  #offset = 0;
  #rest = Buffer.alloc(0);

  constructor(path: string) {
    this.#path = path;
  }

  next(): BuildLogEntry[] {
    try {
      this.#fd ??= openSync(this.#path, 'r');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
      throw error;
    }
    const buffer = Buffer.alloc(256 << 10);
    const entries: BuildLogEntry[] = [];
    while (entries.length === 0) {
      const count = readSync(this.#fd, buffer, 0, buffer.length, this.#offset);
      if (count === 0) break;
      this.#offset += count;
      const data = Buffer.concat([this.#rest, buffer.subarray(0, count)]);
      const end = data.lastIndexOf(10) + 1;
      this.#rest = data.subarray(end);
      const lines = data.subarray(0, end).toString('utf8').split('\n');
      for (const line of lines) {
        const entry = parseEntry(line);
        if (entry) entries.push(entry);
      }
    }
    return entries;
  }

  close(): void {
    if (this.#fd !== undefined) closeSync(this.#fd);
  }
}

/** Only this module writes the log, each line being one entry; a line that a full disk cut short is skipped. */
function parseEntry(line: string): BuildLogEntry | undefined {
  try {
    return JSON.parse(line) as BuildLogEntry;
  } catch {
    return undefined;
  }
}
