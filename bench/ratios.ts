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

/** Those of the newest page of that kind, whose names begin with the date. @throws when there is none */
export function lastPage(pages: readonly (readonly [name: string, read: () => string])[]): Ratios {
  const [, read] = pages
    .filter(([name]) => name.endsWith('-create-and-exec.md'))
    .sort(([one], [other]) => (one < other ? -1 : 1))
    .at(-1) ?? [undefined, undefined];
  if (!read) throw new Error('There is no page to compare with: run `npm run bench` first.');
  return ratiosOf(readPage(read()));
}

/** What `table.ts` and `main.ts` made. */
function readPage(page: string): Map<string, Map<string, Pick<Summary, 'min'>>> {
  const results = new Map<string, Map<string, Pick<Summary, 'min'>>>();
  let rows = new Map<string, Pick<Summary, 'min'>>();
  for (const line of page.split('\n')) {
    const title = /^## (.+)$/.exec(line)?.[1];
    if (title !== undefined) {
      rows = new Map();
      results.set(title, rows);
    }
    const [, name, , min] = line.split('|').map((cell) => cell.trim());
    if (name && Number(min) > 0) rows.set(name, { min: Number(min) });
  }
  return results;
}

/** What of `now` is more than `most` times of what it was; what was not measured then is not judged. */
export const slower = (before: Ratios, now: Ratios, most: number): string[] =>
  [...now].flatMap(([key, ratio]) =>
    ratio > most * (before.get(key) ?? Number.POSITIVE_INFINITY) ? [key] : [],
  );
