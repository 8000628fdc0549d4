/** Many sources read as one, each a piece ahead at most. What it costs to wait for the next piece does not grow with the number of sources. */

interface Offer<T> {
  readonly value: T;
  /** Tells the source to go on, or that nobody reads any more. */
  readonly answer: (goOn: boolean) => void;
}

export class FanIn<T> implements AsyncIterable<T> {
  readonly #offers: Offer<T>[] = [];
  #failure: { readonly error: unknown } | undefined;
  #closed = false;
  #wake: () => void = () => {};

  /** Begins to read a source. A failure of it is thrown to the reader; its end is nothing the reader hears of. */
  add(source: AsyncIterable<T>): void {
    void this.#read(source);
  }

  /** Pieces in the order they came; never ends by itself. Can be read once. When the reader leaves, the sources are told to end. */
  async *[Symbol.asyncIterator](): AsyncGenerator<T, never> {
    try {
      for (;;) {
        if (this.#failure) throw this.#failure.error;
        const offer = this.#offers.shift();
        if (offer) {
          offer.answer(true);
          yield offer.value;
        } else {
          await new Promise<void>((resolve) => {
            this.#wake = resolve;
          });
        }
      }
    } finally {
      this.#closed = true;
      for (const { answer } of this.#offers.splice(0)) answer(false);
    }
  }

  /** Never rejects. */
  async #read(source: AsyncIterable<T>): Promise<void> {
    try {
      for await (const value of source) if (!(await this.#offer(value))) return;
    } catch (error) {
      this.#failure ??= { error };
      this.#wake();
    }
  }

  #offer(value: T): Promise<boolean> {
    if (this.#closed) return Promise.resolve(false);
    return new Promise((answer) => {
      this.#offers.push({ value, answer });
      this.#wake();
    });
  }
}
