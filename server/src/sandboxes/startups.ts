/** Where the time of starts went, of the last ones. */
import type { RuntimeName } from '../engines/engine.ts';

export interface Startup {
  readonly runtime: RuntimeName;
  /** Whether it was given an instance that waited. */
  readonly waited: boolean;
  /** From the moment it was admitted to the one in which its entrypoint, if it has one, ran. */
  readonly ms: number;
  /** By the names of its parts, which may go on side by side. */
  readonly phases: Readonly<Record<string, number>>;
}

/** Of those that are alike: medians. */
export interface StartupSummary extends Startup {
  readonly count: number;
}

/** How many are looked back on. */
const KEPT = 256;

export class Startups {
  readonly #last: Startup[] = [];
  readonly #onStart: ((startup: Startup) => void) | undefined;

  /** @param onStart is told of each */
  constructor(onStart?: (startup: Startup) => void) {
    this.#onStart = onStart;
  }

  add(startup: Startup): void {
    this.#last.push(startup);
    if (this.#last.length > KEPT) this.#last.shift();
    this.#onStart?.(startup);
  }

  summary(): readonly StartupSummary[] {
    const kinds = Map.groupBy(this.#last, ({ runtime, waited }) => `${runtime} ${waited}`);
    return [...kinds.values()].flatMap((all) => {
      const [first] = all;
      if (!first) return [];
      const names = new Set(all.flatMap(({ phases }) => Object.keys(phases)));
      const phases = [...names].map((name) => [name, median(all.map((each) => each.phases[name] ?? 0))]);
      const { runtime, waited } = first;
      const ms = median(all.map((each) => each.ms));
      return { runtime, waited, count: all.length, ms, phases: Object.fromEntries(phases) };
    });
  }
}

function median(numbers: number[]): number {
  const sorted = numbers.sort((one, other) => one - other);
  return Math.round((sorted[sorted.length >> 1] ?? 0) * 10) / 10;
}
