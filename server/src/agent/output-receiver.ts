/** One output stream of a process on its way to the sink: order, bounds and acknowledgements. */
import { type OutputStream, WINDOW_BYTES } from './frames.ts';
import { protocolError } from './messages.ts';

/** Stored bytes that are acknowledged at once; fewer wait for `ACK_DELAY_MS`, since a short process needs no ACK at all. */
const ACK_BYTES = WINDOW_BYTES / 2;
const ACK_DELAY_MS = 100;

export interface OutputReceiverParts {
  /** Stores bytes; the promise, if any, resolves when they are safe. */
  readonly write: (offset: number, chunk: Buffer) => Promise<void> | undefined;
  /** Everything before the end of the stream is stored. */
  readonly eof: (length: number) => void;
  readonly acknowledge: (stream: OutputStream, offset: number) => void;
  /** Storing failed. */
  readonly failed: (error: unknown) => void;
}

/**
 * The agent never has more than the window unacknowledged on its way, so what waits here for a slow sink is bounded without ever
 * pausing the connection, and EXIT and STDIN_ACK are not held up behind output.
 */
export class OutputReceiver {
  readonly #stream: OutputStream;
  readonly #parts: OutputReceiverParts;
  #received: number;
  #stored: number;
  #acknowledged: number;
  #length: number | undefined;
  #ended = false;
  #stopped = false;
  /** Last write under way; later ones and the end queue behind it. */
  #tail: Promise<void> | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(stream: OutputStream, offset: number, parts: OutputReceiverParts) {
    this.#stream = stream;
    this.#parts = parts;
    this.#received = offset;
    this.#stored = offset;
    this.#acknowledged = offset;
  }

  /** The end of the stream was delivered. */
  get ended(): boolean {
    return this.#ended;
  }

  /** @throws SkerryError when the agent sends out of order, beyond the window or after the end. */
  data(offset: number, chunk: Buffer): void {
    if (offset !== this.#received) {
      throw protocolError(`${this.#stream} goes on at ${offset} instead of ${this.#received}`);
    }
    if (this.#length !== undefined) throw protocolError(`${this.#stream} goes on after its end`);
    const end = offset + chunk.length;
    if (end - this.#acknowledged > WINDOW_BYTES) throw protocolError(`${this.#stream} exceeds its window`);
    this.#received = end;
    this.#enqueue(() => {
      const written = this.#parts.write(offset, chunk);
      if (written === undefined) this.#store(end);
      return written?.then(() => this.#store(end));
    });
  }

  /** @throws SkerryError when the length is not what came. */
  eof(length: number): void {
    if (length !== this.#received || this.#length !== undefined) {
      throw protocolError(`${this.#stream} ends at ${length} after ${this.#received} bytes`);
    }
    this.#length = length;
    this.#enqueue(() => {
      this.#ended = true;
      this.#parts.eof(length);
    });
  }

  /** Acknowledges what has been stored when that is much; called when everything that arrived together was handled. */
  flush(): void {
    if (this.#stopped || this.#ended) return;
    if (this.#stored - this.#acknowledged >= ACK_BYTES) this.#acknowledge();
    else if (this.#stored > this.#acknowledged) {
      this.#timer ??= setTimeout(() => this.#acknowledge(), ACK_DELAY_MS).unref();
    }
  }

  /** Nothing is delivered or acknowledged any more. */
  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
  }

  #store(end: number): void {
    this.#stored = end;
  }

  #acknowledge(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#stopped || this.#ended) return;
    this.#acknowledged = this.#stored;
    this.#parts.acknowledge(this.#stream, this.#stored);
  }

  /** Runs `step` now if nothing is under way, so that output reaches its readers without an extra turn of the event loop. */
  #enqueue(step: () => Promise<void> | undefined | void): void {
    if (this.#tail === undefined) {
      try {
        const done = step();
        if (done) this.#follow(done);
      } catch (error) {
        this.#parts.failed(error);
      }
      return;
    }
    this.#follow(this.#tail.then(() => (this.#stopped ? undefined : step())));
  }

  #follow(done: Promise<void>): void {
    const tail: Promise<void> = done.then(
      () => {
        if (this.#tail === tail) this.#tail = undefined;
        this.flush();
      },
      (error: unknown) => {
        if (!this.#stopped) this.#parts.failed(error);
      },
    );
    this.#tail = tail;
  }
}
