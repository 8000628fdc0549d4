/** Does for many at once what each asks for by itself: what is asked for while a batch is under way waits, and is done together in the next. */
export class Batches<Item> {
  readonly #most: number;
  readonly #work: (items: readonly Item[]) => Promise<void>;
  #waiting: Entry<Item>[] = [];
  #isWorking = false;

  /**
   * @param most how many one batch may have
   * @param work what is done for each of them, without repetitions. When it fails for several, it is done anew for each alone, so that each has its own error.
   */
  constructor(most: number, work: (items: readonly Item[]) => Promise<void>) {
    this.#most = most;
    this.#work = work;
  }

  /** Resolves when it is done for this one. @throws what `work` throws for this one alone */
  add(item: Item): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ item, resolve, reject });
      if (!this.#isWorking) void this.#run();
    });
  }

  /** Never rejects. */
  async #run(): Promise<void> {
    this.#isWorking = true;
    while (this.#waiting.length > 0) await this.#do(this.#waiting.splice(0, this.#most));
    this.#isWorking = false;
  }

  async #do(batch: readonly Entry<Item>[]): Promise<void> {
    try {
      await this.#work([...new Set(batch.map(({ item }) => item))]);
      for (const { resolve } of batch) resolve();
    } catch (error) {
      const [first, ...others] = batch;
      if (others.length === 0) first?.reject(error);
      else for (const entry of batch) await this.#do([entry]);
    }
  }
}

interface Entry<Item> {
  readonly item: Item;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}
