/** One program's output on its way into a build log. */
import { StringDecoder } from 'node:string_decoder';
import type { RedactingStream } from '../secrets/redactor.ts';

/** Output without a line's end that is longer is given out as it is, UTF-16 units. */
const MAX_PARTIAL = 16_000;
/** How long output that may be the beginning of a secret is held back for the rest of it: programs write one value in several pieces. */
const HOLD_MS = 2000;
/** How much of the end is remembered. */
const TAIL = 4000;

/** Turns a program's bytes into lines of valid UTF-8 without secrets, and remembers the last of them for the failure message. */
export class OutputSink {
  readonly #emit: (text: string) => void;
  readonly #redacting: RedactingStream;
  readonly #holdMs: number;
  readonly #decoder = new StringDecoder('utf8');
  #partial = '';
  #tail = '';
  /** Runs while text is held, since it was held from `#heldFrom` on. */
  #timer: NodeJS.Timeout | undefined;
  #heldFrom: number | undefined;

  constructor(emit: (text: string) => void, redacting: RedactingStream, holdMs = HOLD_MS) {
    this.#emit = emit;
    this.#redacting = redacting;
    this.#holdMs = holdMs;
  }

  /** The last 4000 characters of the output, without secrets. */
  get tail(): string {
    return this.#tail;
  }

  write(data: Uint8Array): void {
    this.#take(this.#redacting.write(this.#decoder.write(data)));
    this.#hold();
  }

  end(): void {
    this.#take(this.#redacting.write(this.#decoder.end()) + this.#redacting.end());
    this.#hold();
    if (this.#partial !== '') this.#flush(this.#partial.length);
  }

  #hold(): void {
    const { heldFrom } = this.#redacting;
    if (heldFrom === this.#heldFrom) return;
    this.#heldFrom = heldFrom;
    clearTimeout(this.#timer);
    if (heldFrom === undefined) return;
    this.#timer = setTimeout(() => {
      this.#take(this.#redacting.release());
      this.#hold();
    }, this.#holdMs);
    this.#timer.unref();
  }

  #take(text: string): void {
    this.#partial += text;
    const whole = Math.max(this.#partial.lastIndexOf('\n'), this.#partial.lastIndexOf('\r')) + 1;
    if (whole > 0) this.#flush(whole);
    else if (this.#partial.length > MAX_PARTIAL) this.#flush(this.#partial.length);
  }

  #flush(length: number): void {
    const text = this.#partial.slice(0, length);
    this.#partial = this.#partial.slice(length);
    this.#tail = (this.#tail + text).slice(-TAIL);
    this.#emit(text);
  }
}
