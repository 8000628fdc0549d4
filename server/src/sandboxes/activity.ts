/** The idle clock of a sandbox: fires when nothing counted as activity for a while. */

export class IdleClock {
  readonly #timeoutMs: number;
  readonly #onIdle: () => void;
  #holds = 0;
  #timer: NodeJS.Timeout | undefined;
  #stopped = true;

  /** Stands until `start`; what holds it counts from the beginning. What counts as activity: running execs, writes to an input, and whatever else holds the clock. */
  constructor(timeoutMs: number, onIdle: () => void) {
    this.#timeoutMs = timeoutMs;
    this.#onIdle = onIdle;
  }

  /** The time begins. @param leastMs it does not fire before, unless something happens meanwhile */
  start(leastMs = 0): void {
    this.#stopped = false;
    this.#begin(Math.max(leastMs, this.#timeoutMs));
  }

  /** Something happened: the time starts anew. */
  touch(): void {
    this.#begin(this.#timeoutMs);
  }

  #begin(ms: number): void {
    clearTimeout(this.#timer);
    if (this.#holds > 0 || this.#stopped) return;
    this.#timer = setTimeout(this.#onIdle, ms);
  }

  /** Something goes on until the returned function is called (once; later calls do nothing). */
  hold(): () => void {
    this.#holds++;
    clearTimeout(this.#timer);
    let held = true;
    return () => {
      if (!held) return;
      held = false;
      this.#holds--;
      this.touch();
    };
  }

  /** Until it is started again. */
  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
  }
}
