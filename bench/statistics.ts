/** The few numbers that a table of timings needs. */

export interface Summary {
  readonly count: number;
  readonly min: number;
  readonly median: number;
  readonly p95: number;
  readonly p99: number;
  readonly max: number;
}

/** What came of measures: by the title of each, and the name of who was measured. */
export type Results = ReadonlyMap<string, ReadonlyMap<string, Summary>>;

/** @throws RangeError for no samples */
export function summarize(samples: readonly number[]): Summary {
  const sorted = [...samples].sort((a, b) => a - b);
  const [min, max] = [sorted.at(0), sorted.at(-1)];
  if (min === undefined || max === undefined) throw new RangeError('no samples');
  const middle = sorted.length / 2;
  const upper = sorted[Math.floor(middle)] ?? max;
  const lower = sorted[Math.ceil(middle) - 1] ?? min;
  const [p95, p99] = [quantile(sorted, 0.95), quantile(sorted, 0.99)];
  return { count: sorted.length, min, median: (lower + upper) / 2, p95, p99, max };
}

/** The smallest sample that so large a share of them does not exceed. @param share above 0, at most 1 @throws RangeError for no samples */
export function quantile(samples: readonly number[], share: number): number {
  const sorted = samples.toSorted((a, b) => a - b);
  const value = sorted[Math.ceil(sorted.length * share) - 1];
  if (value === undefined) throw new RangeError('no samples');
  return value;
}

/** `12.3` below a hundred, whole numbers from there. */
export const milliseconds = (value: number): string => (value < 100 ? value.toFixed(1) : value.toFixed(0));
