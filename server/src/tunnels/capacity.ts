/** How many connections all tunnels may have at once. */
export class Capacity {
  readonly #most: number;
  #used = 0;

  constructor(most: number) {
    this.#most = most;
  }

  get used(): number {
    return this.#used;
  }

  /** Takes a place until the returned function is called, once; undefined when there is none. */
  take(): (() => void) | undefined {
    if (this.#used >= this.#most) return undefined;
    this.#used++;
    return () => {
      this.#used--;
    };
  }
}
