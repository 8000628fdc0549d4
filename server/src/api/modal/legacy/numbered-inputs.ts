/**
 * Input of older clients: messages numbered 1, 2, 3, ... instead of byte offsets. A message that comes again (a retry) has its effect once, also when the
 * server was restarted between the two: where a message begins is written down before it is taken.
 */
import { SkerryError } from '../../../errors/skerry-error.ts';
import { OnePerKey } from '../../../platform/one-per-key.ts';
import type { Process } from '../../../sandboxes/sandboxes.ts';
import type { ExecKey, KeptExecs } from './kept-execs.ts';

export interface InputMessage {
  readonly messageIndex: bigint;
  readonly message: Uint8Array;
  readonly eof: boolean;
}

interface Progress {
  /** The last message that was begun; undefined before the first. */
  begun: { readonly index: bigint; readonly offset: number } | undefined;
  /** Where the input goes on after it: known once it was taken whole. */
  end: number | undefined;
  /** It was begun by an earlier server, which may have taken it whole or not. */
  inherited: boolean;
}

export class NumberedInputs {
  readonly #kept: KeptExecs;
  /** Numbers live as long as the process they are for is known. */
  readonly #progress = new WeakMap<Process, Progress>();
  readonly #turns = new OnePerKey<Process>();

  constructor(kept: KeptExecs) {
    this.#kept = kept;
  }

  /** Messages are written one after another in the order they come. @throws SkerryError `stdin-closed`, `invalid-argument` (a gap) */
  async write(exec: ExecKey, process: Process, input: InputMessage, signal: AbortSignal): Promise<void> {
    const progress = this.#of(exec, process);
    return this.#turns.run(process, () => this.#take(progress, exec, process, input, signal));
  }

  async #take(
    progress: Progress,
    exec: ExecKey,
    process: Process,
    { messageIndex: index, message, eof }: InputMessage,
    signal: AbortSignal,
  ): Promise<void> {
    const { begun, end } = progress;
    if (begun && (index < begun.index || (index === begun.index && end !== undefined))) return;
    let offset: number;
    if (index === begun?.index) {
      offset = begun.offset; // again: the process skips what of it was taken
    } else {
      const next =
        begun === undefined ? index : begun.index + (end === undefined && !progress.inherited ? 0n : 1n);
      if (index !== next) {
        throw new SkerryError('invalid-argument', `Input message ${next} is missing before ${index}.`);
      }
      offset = end ?? (await process.stdinStatus(signal)).accepted;
      this.#kept.beginInput(exec, { message: String(index), offset });
      progress.begun = { index, offset };
      progress.end = undefined;
      progress.inherited = false;
    }
    if (message.length > 0) await process.writeStdin(offset, message, signal);
    if (eof) await process.closeStdin(signal);
    progress.end = offset + message.length;
  }

  #of(exec: ExecKey, process: Process): Progress {
    let progress = this.#progress.get(process);
    if (!progress) {
      const kept = this.#kept.begunInput(exec);
      const begun = kept && { index: BigInt(kept.message), offset: kept.offset };
      progress = { begun, end: undefined, inherited: begun !== undefined };
      this.#progress.set(process, progress);
    }
    return progress;
  }
}
