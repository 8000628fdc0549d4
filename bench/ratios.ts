/** How long things take as multiples of what plain runc takes in the same run, by the fastest round of each. */
import type { Summary } from './statistics.ts';

/** By the title of the measure and the name of who was measured. */
export type Ratios = ReadonlyMap<string, number>;

const BASELINE = 'runc';

/** @param results by title and name; one without a baseline has no ratios */
export function ratiosOf(results: ReadonlyMap<string, ReadonlyMap<string, Pick<Summary, 'min'>>>): Ratios {
  const ratios = new Map<string, number>();
  for (const [title, rows] of results) {
    const base = rows.get(BASELINE)?.min;
    if (base === undefined) continue;
    for (const [name, { min }] of rows) {
      if (name !== BASELINE) ratios.set(`${title}, ${name}`, min / base);
    }
  }
  return ratios;
}

/** What of `now` is more than `most` times of what it was; what was not measured then is not judged. */
export const slower = (before: Ratios, now: Ratios, most: number): string[] =>
  [...now].flatMap(([key, ratio]) =>
    ratio > most * (before.get(key) ?? Number.POSITIVE_INFINITY) ? [key] : [],
  );
