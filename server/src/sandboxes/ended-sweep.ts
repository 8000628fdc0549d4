/** Forgets sandboxes that ended longer ago than their output is kept. One that cannot be forgotten holds up no other. */
import type { SandboxId } from '../ids.ts';
import type { Logger } from '../telemetry/logger.ts';
import type { SandboxRepository, SandboxRow } from './repositories.ts';

export interface EndedSweepParts {
  readonly repository: Pick<SandboxRepository, 'endedBefore'>;
  /** Removes everything of one. May throw, and is called again for it then. */
  readonly forget: (row: SandboxRow) => void;
  readonly logger: Pick<Logger, 'error'>;
}

export class EndedSweep {
  readonly #parts: EndedSweepParts;
  /** Those that could not be forgotten, each told once. */
  readonly #stuck = new Set<SandboxId>();
  /** Where the next sweep goes on: one looks at a bounded number, and may have found nothing but what it could not forget. */
  #after: SandboxRow | undefined;

  constructor(parts: EndedSweepParts) {
    this.#parts = parts;
  }

  /** Forgets some of those that ended before that time, in Unix milliseconds. Repeated calls come to all, and again to those that could not be forgotten. */
  run(beforeMs: number): void {
    const { repository } = this.#parts;
    let rows = repository.endedBefore(beforeMs, this.#after);
    if (rows.length === 0 && this.#after) rows = repository.endedBefore(beforeMs); // all over again
    for (const row of rows) this.#forget(row);
    this.#after = rows.at(-1);
  }

  #forget(row: SandboxRow): void {
    try {
      this.#parts.forget(row);
      this.#stuck.delete(row.id);
    } catch (err) {
      if (this.#stuck.has(row.id)) return;
      this.#stuck.add(row.id);
      this.#parts.logger.error({ sandbox: row.id, err }, 'sandbox.not-forgotten');
    }
  }
}
