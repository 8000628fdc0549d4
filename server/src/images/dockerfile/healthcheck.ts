/** What HEALTHCHECK says beside its command (https://docs.docker.com/reference/dockerfile/#healthcheck), which has no variables. */
import type { Healthcheck } from '../image.ts';
import type { Fail } from './copy-words.ts';
import type { Command } from './instruction.ts';

export const HEALTHCHECK_FLAGS = [
  'interval',
  'timeout',
  'start-period',
  'start-interval',
  'retries',
] as const;

/** https://pkg.go.dev/time#ParseDuration, in nanoseconds. */
const UNITS: Readonly<Record<string, number>> = {
  ...{ ns: 1, us: 1e3, µs: 1e3, μs: 1e3, ms: 1e6, s: 1e9, m: 60e9, h: 3600e9 },
};
const SHORTEST_NS = 1e6;
const MAX_RETRIES = 2 ** 31 - 1;

/** @param flag the value of a flag; `fail` reports what is wrong with it */
export function readHealthcheck(
  command: Command,
  flag: (name: (typeof HEALTHCHECK_FLAGS)[number]) => string | undefined,
  fail: Fail,
): Healthcheck {
  if (command.form === 'exec' && command.argv.length === 0) fail('HEALTHCHECK CMD has no command');
  const time = (name: Parameters<typeof flag>[0]): number => {
    const text = flag(name) ?? '';
    const duration = text === '' ? 0 : nanoseconds(text);
    if (duration === undefined || (duration !== 0 && duration < SHORTEST_NS))
      return fail(`--${name} is a time such as 30s or 1m30s, 1ms at least, not \`${text.slice(0, 40)}\``);
    return duration;
  };
  const [interval, timeout] = [time('interval'), time('timeout')];
  const [startPeriod, startInterval] = [time('start-period'), time('start-interval')];
  const retries = Number(flag('retries') ?? 0);
  if (!Number.isInteger(retries) || retries < 0 || retries > MAX_RETRIES)
    fail('--retries is a whole number, 0 or more');
  return {
    test: command.form === 'exec' ? ['CMD', ...command.argv] : ['CMD-SHELL', command.text],
    ...(interval > 0 && { intervalNs: interval }),
    ...(timeout > 0 && { timeoutNs: timeout }),
    ...(startPeriod > 0 && { startPeriodNs: startPeriod }),
    ...(startInterval > 0 && { startIntervalNs: startInterval }),
    ...(retries > 0 && { retries }),
  };
}

/** Of a duration in Go's words; undefined for what is none, or too long to be counted. */
function nanoseconds(text: string): number | undefined {
  if (text === '0') return 0;
  const parts = [...text.matchAll(/(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)/g)];
  if (parts.map(([part]) => part).join('') !== text) return undefined;
  const sum = parts.reduce((all, [, count, unit = '']) => all + Number(count) * (UNITS[unit] ?? 0), 0);
  return sum <= Number.MAX_SAFE_INTEGER ? Math.round(sum) : undefined;
}
