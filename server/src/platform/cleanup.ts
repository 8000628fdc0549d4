/**
 * A last-in-first-out stack of things to undo. It runs once, goes on when one step fails, joins the errors, and runs
 * late additions at once (a resource acquired while the cleanup is under way must not leak).
 */
export class Cleanup implements AsyncDisposable {
  #steps: { readonly name: string; readonly undo: () => unknown }[] = [];
  #run: Promise<void> | undefined;

  /** Registers how to undo what was just acquired. */
  add(name: string, undo: () => unknown): void {
    this.#steps.push({ name, undo });
    if (this.#run) this.#run = this.#run.then(() => this.#drain());
  }

  /** Keeps everything: nothing registered so far will be undone. */
  release(): void {
    this.#steps = [];
  }

  /** Undoes everything, newest first. @throws AggregateError with one error per failed step. */
  run(): Promise<void> {
    this.#run ??= this.#drain();
    return this.#run;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.run();
  }

  async #drain(): Promise<void> {
    const errors: unknown[] = [];
    for (let step = this.#steps.pop(); step; step = this.#steps.pop()) {
      try {
        await step.undo();
      } catch (error) {
        errors.push(new Error(`cleanup of ${step.name} failed`, { cause: error }));
      }
    }
    if (errors.length > 0) throw new AggregateError(errors, errors.map(String).join('; '));
  }
}
