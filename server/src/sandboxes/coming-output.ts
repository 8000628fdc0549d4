/** Output of a process that has not been started yet, or never will be: readers wait for it instead of failing. */
import type { OutputTime } from './output-times.ts';
import type { OutputReader } from './sandboxes.ts';

export interface ComingOutputParts {
  /** The real output, once there is one. */
  readonly find: () => OutputReader | undefined;
  /** Resolves when it is decided whether there is one. @throws the signal's reason */
  readonly begun: (signal: AbortSignal) => Promise<unknown>;
  /** Resolves when none can come any more. @throws the signal's reason */
  readonly over: (signal: AbortSignal) => Promise<unknown>;
  /** Whether `over` would resolve at once. */
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

  times(): readonly OutputTime[] {
    return this.#parts.find()?.times() ?? [];
  }

  async *read(offset: number, signal: AbortSignal): AsyncIterable<Uint8Array> {
    const { find, begun, over } = this.#parts;
    await begun(signal);
    const output = find();
    if (output) yield* output.read(offset, signal);
    else await over(signal);
  }
}
