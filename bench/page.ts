/** What every bench has in common beside its table: words to whoever waits, numbers of its command line, and where its page goes. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { chart } from './chart.ts';
import { RESULTS } from './result-page.ts';
import type { Results } from './statistics.ts';

export const say = (line: string): void => void process.stderr.write(`${line}\n`);

/** @throws RangeError for what is no whole number from 1 to `most` */
export function wholeNumber(option: string, text: string, most: number): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1 || value > most) {
    throw new RangeError(`--${option} must be a whole number from 1 to ${most}`);
  }
  return value;
}

/** As pages and their files have it. */
export const today = (): string => new Date().toISOString().slice(0, 10);

/**
 * Prints a page, and writes it to `results/` in the place of that day's.
 * @param kind what it is about, as a part of a file's name
 * @param results what the page tells, for programs: beside it as JSON, and drawn as the picture that `picture` shows
 */
export function publish(kind: string, page: string, results?: Results): void {
  process.stdout.write(page);
  mkdirSync(RESULTS, { recursive: true });
  const write = (extension: string, content: string) => {
    const file = join(RESULTS, `${today()}-${kind}.${extension}`);
    writeFileSync(file, content);
    say(`written to ${file}`);
  };
  write('md', page);
  if (results === undefined) return;
  write(
    'json',
    `${JSON.stringify(Object.fromEntries([...results].map(([title, rows]) => [title, Object.fromEntries(rows)])), undefined, 2)}\n`,
  );
  write('svg', chart(results));
}

/** The line of a page that shows its picture. */
export const picture = (kind: string): string => `![the same as a picture](${today()}-${kind}.svg)`;

/** The lines of a page that say who did not take part, and why. */
export const notMeasured = (absent: readonly string[]): string[] =>
  absent.length > 0 ? ['Not measured:', '', ...absent.map((line) => `- ${line}`), ''] : [];
