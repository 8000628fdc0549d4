/** Tasks that must follow one another where they are about the same thing. */
export class OnePerKey<Key> {
  readonly #last = new Map<Key, Promise<void>>();

  /** Runs `task` once the earlier ones of the same key are over, however they ended. */
  run<T>(key: Key, task: () => Promise<T>): Promise<T> {
    const result = (this.#last.get(key) ?? Promise.resolve()).then(task);
    const over: Promise<void> = result.then(
      () => this.#forget(key, over),
      () => this.#forget(key, over),
    );
    this.#last.set(key, over);
    return result;
  }

  #forget(key: Key, last: Promise<void>): void {
    if (this.#last.get(key) === last) this.#last.delete(key);
  }
}
