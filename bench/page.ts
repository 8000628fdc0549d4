/** What every bench has in common beside its table: words to whoever waits, numbers of its command line, and where its page goes. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

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

/** Prints a page, and writes it to `results/` in the place of that day's. @param kind what it is about, as a part of a file's name */
export function publish(kind: string, page: string): void {
  process.stdout.write(page);
  const results = join(import.meta.dirname, 'results');
  mkdirSync(results, { recursive: true });
  const file = join(results, `${today()}-${kind}.md`);
  writeFileSync(file, page);
  say(`written to ${file}`);
}
