/** Output of a process that has not been started yet, or never will be: readers wait for it instead of failing. */
import { unlessAborted } from '../platform/wait.ts';
import type { OutputReader } from './sandboxes.ts';

export interface ComingOutputParts {
  /** The real output, once there is one. */
  readonly find: () => OutputReader | undefined;
  /** Settles when it is decided whether there is one; never rejects. */
  readonly begun: Promise<unknown>;
  /** Settles when none can come any more; never rejects. */
  readonly over: Promise<unknown>;
  /** Whether `over` has settled. */
  readonly isOver: () => boolean;
}

export class ComingOutput implements OutputReader {
  readonly #parts: ComingOutputParts;

  constructor(parts: ComingOutputParts) {
    this.#parts = parts;
  }

  get length(): number {
    return this.#parts.find()?.length ?? 0;
  }

  get ended(): boolean {
    return this.#parts.find()?.ended ?? this.#parts.isOver();
  }

  async *read(offset: number, signal: AbortSignal): AsyncIterable<Uint8Array> {
    const { find, begun, over } = this.#parts;
    await unlessAborted(begun, signal);
    const output = find();
    if (output) yield* output.read(offset, signal);
    else await unlessAborted(over, signal);
  }
}
