/** Values of options that several commands take. */
import { InvalidArgumentError } from 'commander';
import { parseTime } from './sizes.ts';

/** @throws InvalidArgumentError */
export function parseCount(text: string): number {
  const count = Number(text);
  if (Number.isInteger(count) && count >= 1) return count;
  throw new InvalidArgumentError('It must be a number from 1 on.');
}

/** Milliseconds until something ends by itself. @throws InvalidArgumentError */
export function parseLifetime(text: string, leastMs = Number.MIN_VALUE): number {
  const ms = parseTime(text);
  if (ms !== undefined && ms >= leastMs) return ms;
  throw new InvalidArgumentError('It must be a time such as 90m, 12h or 30d.');
}
