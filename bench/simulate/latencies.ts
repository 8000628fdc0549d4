/** How long starts take, as the bench measured it. */
import type { RuntimeName } from '../../server/src/engines/engine.ts';
import { type Measured, readPage } from '../result-page.ts';

/** Milliseconds by the part of all starts that took less: from 0 to 1. */
export type Quantiles = (part: number) => number;

export interface Latencies {
  /** What nobody needs to wait for who gets one that waited. */
  readonly making: Quantiles;
  /** From then on to the first output. */
  readonly giving: Quantiles;
}

const TITLE = 'Create to first output';

/** @param page of `npm run bench` @throws Error when it does not have that */
export function latenciesOf(page: string, runtime: RuntimeName): Latencies {
  const rows = readPage(page).get(TITLE);
  const of = (name: string) => {
    const row = rows?.get(name);
    if (!row) throw new Error(`The page has no row '${name}' under '${TITLE}'.`);
    return quantilesOf(row);
  };
  const [cold, giving] = [of(`skerry (${runtime})`), of(`skerry (${runtime}), waiting`)];
  return { giving, making: (part) => Math.max(0, cold(part) - giving(part)) };
}

/** Straight lines between what a page tells: rounds are few, and nothing is known of what is slower than the slowest. */
const quantilesOf =
  ({ min, median, max }: Measured): Quantiles =>
  (part) =>
    part < 0.5 ? min + (median - min) * 2 * part : median + (max - median) * (2 * part - 1);
