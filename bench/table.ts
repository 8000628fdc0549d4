/** Timings as a Markdown table. */
import { milliseconds, type Summary } from './statistics.ts';

/** @param baselines those of the rows whose medians the others are told as multiples of */
export function table(
  rows: readonly { name: string; summary: Summary }[],
  baselines: readonly string[],
): string[] {
  const present = baselines.filter((name) => rows.some((row) => row.name === name));
  const header = ['', 'median', 'min', 'max', ...present.map((name) => `× ${name}`)];
  const lines = rows.map(({ name, summary }) => {
    const ratios = present.map((baseline) => {
      const base = rows.find((row) => row.name === baseline)?.summary.median ?? Number.NaN;
      return (summary.median / base).toFixed(2);
    });
    return [
      name,
      milliseconds(summary.median),
      milliseconds(summary.min),
      milliseconds(summary.max),
      ...ratios,
    ];
  });
  return [header, header.map((_, index) => (index === 0 ? '---' : '---:')), ...lines].map(
    (cells) => `| ${cells.join(' | ')} |`,
  );
}
