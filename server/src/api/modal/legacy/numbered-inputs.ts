/** Input of older clients: messages numbered 1, 2, 3, ... instead of byte offsets. A message that comes again (a retry) has its effect once. */
import { SkerryError } from '../../../errors/skerry-error.ts';
import type { Process } from '../../../sandboxes/sandboxes.ts';

interface Progress {
  /** The number of the last message that was taken. */
  last: bigint;
  /** Where the next message's first byte belongs; a second try of it skips what the first one got through. Unknown before the first. */
  offset: number | undefined;
  /** Settles when the message under way was taken or failed; never rejects. */
  busy: Promise<void>;
}

export class NumberedInputs {
  /** Numbers live as long as the process they are for is known. */
  readonly #progress = new WeakMap<Process, Progress>();

  /** Messages are written one after another in the order they come. @throws SkerryError `stdin-closed`, `invalid-argument` (a gap) */
  async write(
    process: Process,
    index: bigint,
    data: Uint8Array,
    eof: boolean,
    signal: AbortSignal,
  ): Promise<void> {
    const progress = this.#of(process);
    const work = progress.busy.then(async () => {
      if (index <= progress.last) return;
      // After a restart of the server the first number is whatever the client goes on with.
      if (progress.last > 0n && index !== progress.last + 1n) {
        throw new SkerryError(
          'invalid-argument',
          `Input message ${progress.last + 1n} is missing before ${index}.`,
        );
      }
      progress.offset ??= (await process.stdinStatus(signal)).accepted;
      if (data.length > 0) await process.writeStdin(progress.offset, data, signal);
      if (eof) await process.closeStdin();
      progress.offset += data.length;
      progress.last = index;
    });
    progress.busy = work.catch(() => {});
    return work;
  }

  #of(process: Process): Progress {
    let progress = this.#progress.get(process);
    if (!progress) {
      progress = { last: 0n, offset: undefined, busy: Promise.resolve() };
      this.#progress.set(process, progress);
    }
    return progress;
  }
}
