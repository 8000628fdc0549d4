/** Reads what `table.ts` and `main.ts` made, and finds the newest of it. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Summary } from './statistics.ts';

/** A row, in the unit of its table. */
export type Measured = Pick<Summary, 'min' | 'median' | 'max'>;

/** Where results are. */
export const RESULTS = join(import.meta.dirname, 'results');

/** The numbers in the rows of each table, by its title and their names; what is no number is NaN. */
export function readNumbers(page: string): ReadonlyMap<string, ReadonlyMap<string, readonly number[]>> {
  const tables = new Map<string, Map<string, readonly number[]>>();
  let rows = new Map<string, readonly number[]>();
  for (const line of page.split('\n')) {
    const title = /^## (.+)$/.exec(line)?.[1];
    if (title !== undefined) {
      rows = new Map();
      tables.set(title, rows);
    }
    const [, name, ...cells] = line.split('|').map((cell) => cell.trim());
    if (name) rows.set(name, cells.slice(0, -1).map(Number));
  }
  return tables;
}

/** The rows of timings, of each table that has some. */
export function readPage(page: string): ReadonlyMap<string, ReadonlyMap<string, Measured>> {
  const timings = [...readNumbers(page)].map(([title, rows]) => {
    const measured = [...rows].flatMap(([name, [median = 0, min = 0, max = 0]]) =>
      min > 0 ? [[name, { median, min, max }] as const] : [],
    );
    return [title, new Map(measured)] as const;
  });
  return new Map(timings);
}

/** The newest of these files of a kind, whose names begin with their dates; undefined when there is none. */
export const newestOf = (
  kind: string,
  extension: 'md' | 'json',
  names: readonly string[] = readdirSync(RESULTS),
): string | undefined =>
  names
    .filter((name) => name.endsWith(`-${kind}.${extension}`))
    .sort()
    .at(-1);

/** Of a page. @throws Error when there is none */
export function newestPage(kind: string, names?: readonly string[]): string {
  const newest = newestOf(kind, 'md', names);
  if (newest === undefined)
    throw new Error(`There is no page of ${kind} in bench/results: run the bench first.`);
  return newest;
}

/** @param name of a file of `results/` */
export const loadPage = (name: string): string => readFileSync(join(RESULTS, name), 'utf8');
