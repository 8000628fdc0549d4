/** When the bytes of a stream came: marks in a file beside it, each an offset and a time, from which on the next mark's begins. */
import { closeSync, constants, openSync, readFileSync, statSync, writeSync } from 'node:fs';

export interface OutputTime {
  /** Bytes from here on, to the next mark, came at that time. */
  readonly offset: number;
  /** Unix milliseconds; bytes may have come up to the distance of two marks later. */
  readonly timeMs: number;
}

const MARK_BYTES = 16;
/** Marks of a stream are this far from each other, */
const DISTANCE_MS = 10;
/** and this far once there are so many, a MiB of them: one that is written to for a week has ten MiB. */
const FAR_MS = 1000;
const MANY = 65_536;

/** The writing end. Times are a help for readers of logs: what cannot be written is left out, and neither output nor anybody else is held up by it. */
export class OutputTimes {
  readonly #path: string;
  readonly #now: () => number;
  #fd: number | undefined;
  #count: number | undefined;
  #lastMs = Number.NEGATIVE_INFINITY;

  constructor(path: string, now: () => number) {
    this.#path = path;
    this.#now = now;
  }

  /** Bytes from `offset` on come now. */
  mark(offset: number): void {
    const nowMs = this.#now();
    this.#count ??= Math.floor((statSync(this.#path, { throwIfNoEntry: false })?.size ?? 0) / MARK_BYTES);
    if (nowMs - this.#lastMs < (this.#count < MANY ? DISTANCE_MS : FAR_MS)) return;
    const mark = Buffer.alloc(MARK_BYTES);
    mark.writeDoubleLE(offset, 0);
    mark.writeDoubleLE(nowMs, 8);
    this.#lastMs = nowMs;
    try {
      this.#fd ??= openSync(this.#path, constants.O_WRONLY | constants.O_CREAT, 0o600);
      // The next takes the place of one that a full disk cut short.
      if (writeSync(this.#fd, mark, 0, MARK_BYTES, this.#count * MARK_BYTES) === MARK_BYTES) this.#count++;
    } catch {
      this.close();
    }
  }

  close(): void {
    if (this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = undefined;
  }
}

/** The marks of a stream in order; none where nobody kept them. */
export function readOutputTimes(path: string): OutputTime[] {
  let marks: Buffer;
  try {
    marks = readFileSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
  const times: OutputTime[] = [];
  for (let at = 0; at + MARK_BYTES <= marks.length; at += MARK_BYTES) {
    const timeMs = marks.readDoubleLE(at + 8);
    // A clock that was put back puts no line before the one above it.
    times.push({ offset: marks.readDoubleLE(at), timeMs: Math.max(timeMs, times.at(-1)?.timeMs ?? 0) });
  }
  return times;
}
