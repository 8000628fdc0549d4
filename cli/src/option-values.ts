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
export const parseLifetime = (text: string): number => lifetimeMs(text, Number.MIN_VALUE);

/** The same in whole seconds, one at least. */
export const parseLifetimeSeconds = (text: string): number => Math.floor(lifetimeMs(text, 1000) / 1000);

function lifetimeMs(text: string, least: number): number {
  const ms = parseTime(text);
  if (ms !== undefined && ms >= least) return ms;
  throw new InvalidArgumentError('It must be a time such as 90m, 12h or 30d.');
}
