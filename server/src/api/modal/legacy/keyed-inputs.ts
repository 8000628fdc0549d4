/**
 * Input of V1 clients to a sandbox's own program. A write says no offset, and its number tells nothing, since several clients may write and each counts
 * its own; what a repeat has in common with what it repeats is the idempotency key. One that was cut off in the middle goes on from there when it comes
 * again, also when the server was restarted between the two: where it begins is written down before it is taken.
 */
import { OnePerKey } from '../../../platform/one-per-key.ts';
import type { Process } from '../../../sandboxes/sandboxes.ts';
import type { ExecKey, KeptExecs } from './kept-execs.ts';

export interface KeyedInput {
  /** Of this write and its repeats alone; undefined: it is not repeated. */
  readonly key: string | undefined;
  readonly data: Uint8Array;
  readonly eof: boolean;
}

export class KeyedInputs {
  readonly #kept: KeptExecs;
  readonly #turns = new OnePerKey<Process>();

  constructor(kept: KeptExecs) {
    this.#kept = kept;
  }

  /**
   * Writes go one after another in the order they come. A write that failed is remembered until another client's begins.
   * @throws SkerryError `stdin-closed`; the signal's reason
   */
  write(exec: ExecKey, process: Process, input: KeyedInput, signal: AbortSignal): Promise<void> {
    return this.#turns.run(process, () => this.#take(exec, process, input, signal));
  }

  async #take(
    exec: ExecKey,
    process: Process,
    { key, data, eof }: KeyedInput,
    signal: AbortSignal,
  ): Promise<void> {
    const begun = this.#kept.begunInput(exec);
    const again = key !== undefined && begun?.message === key;
    const offset = again ? begun.offset : (await process.stdinStatus(signal)).accepted;
    if (key !== undefined && !again) this.#kept.beginInput(exec, { message: key, offset });
    if (data.length > 0) await process.writeStdin(offset, data, signal); // of a repeat the process skips what it took
    if (eof) await process.closeStdin(signal);
  }
}
