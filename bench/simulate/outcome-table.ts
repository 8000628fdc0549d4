/** What became of traces, as a Markdown table. */
import type { RuntimeName } from '../../server/src/engines/engine.ts';
import { milliseconds, quantile } from '../statistics.ts';
import type { Outcome } from './simulation.ts';

export interface Row {
  /** Of the trace. */
  readonly name: string;
  readonly runtime: RuntimeName;
  readonly outcome: Outcome;
}

const HEADER = [
  ...['trace', 'runtime', 'asked for', 'refused', 'given one that waited', 'made in vain'],
  ...['p50', 'p95', 'p99', 'longest', 'most that ran', 'most in the queue', 'processors busy'],
];
const percent = (part: number): string => `${Math.round(100 * part)}%`;

export function outcomeTable(rows: readonly Row[]): string[] {
  const lines = rows.map(({ name, runtime, outcome }) => {
    const { waitsMs, refused, warm, vain, mostRunning, mostQueued, busy } = outcome;
    const turnedAway = refused.room + refused.rate;
    const waits = [0.5, 0.95, 0.99, 1].map((share) =>
      waitsMs.length === 0 ? '' : milliseconds(quantile(waitsMs, share)),
    );
    return [
      ...[
        name,
        runtime,
        waitsMs.length + turnedAway,
        turnedAway,
        percent(warm / Math.max(1, waitsMs.length)),
        vain,
      ],
      ...[...waits, mostRunning, mostQueued, percent(busy)],
    ];
  });
  const rule = HEADER.map((_, index) => (index < 2 ? '---' : '---:'));
  return [HEADER, rule, ...lines].map((cells) => `| ${cells.join(' | ')} |`);
}
