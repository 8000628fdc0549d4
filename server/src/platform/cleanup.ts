/** Undoing what was acquired, so that an error on the way out never hides the one that came first. */
import type { Logger } from '../telemetry/logger.ts';

interface Step {
  readonly name: string;
  readonly undo: () => unknown;
}

/**
 * A last-in-first-out stack of things to undo. It goes on when one step fails and joins the errors, and it undoes late additions at once (a
 * resource acquired while the cleanup is under way must not leak). Steps that failed stay: the next `run` tries them again.
 */
export class Cleanup {
  #steps: Step[] = [];
  #running: Promise<void> | undefined;
  #begun = false;

  /** Registers how to undo what was just acquired. */
  add(name: string, undo: () => unknown): void {
    this.#steps.push({ name, undo });
    if (this.#begun) this.run().catch(() => {}); // what failed stays, for whoever runs it next to see
  }

  /** Keeps everything: nothing registered so far will be undone. */
  release(): void {
    this.#steps = [];
  }

  /** Undoes everything, newest first; joins a run under way. @throws AggregateError with one error per failed step. */
  run(): Promise<void> {
    this.#begun = true;
    this.#running ??= this.#drain();
    return this.#running;
  }

  async #drain(): Promise<void> {
    await Promise.resolve(); // so that `#running` is set before it is unset
    const failed: Step[] = [];
    const errors: unknown[] = [];
    for (let step = this.#steps.pop(); step; step = this.#steps.pop()) {
      try {
        await step.undo();
      } catch (error) {
        failed.unshift(step);
        errors.push(new Error(`cleanup of ${step.name} failed`, { cause: error }));
      }
    }
    this.#steps = failed;
    this.#running = undefined;
    if (errors.length > 0) throw new AggregateError(errors, errors.map(String).join('; '));
  }
}

/**
 * A cleanup that `await using` runs. What cannot be undone is logged, not thrown: it neither hides the error that ended the scope nor turns its success
 * into a failure.
 */
export class CleanupScope extends Cleanup implements AsyncDisposable {
  readonly #logger: Pick<Logger, 'error'>;
  readonly #fields: object;

  /** @param fields what the log's line says of whose cleanup it is */
  constructor(logger: Pick<Logger, 'error'>, fields: object = {}) {
    super();
    this.#logger = logger;
    this.#fields = fields;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      await this.run();
    } catch (error) {
      this.#logger.error({ ...this.#fields, err: error }, 'cleanup.failed');
    }
  }
}
