/** Sizes and times as people write them. */

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB'] as const;
const MS_OF = { m: 60_000, h: 3_600_000, d: 24 * 3_600_000 } as const;

/** Bytes in the largest unit of which there is one. */
export function formatSize(bytes: number): string {
  let [value, unit] = [bytes, 0];
  while (value >= 1024 && unit < UNITS.length - 1) [value, unit] = [value / 1024, unit + 1];
  return `${unit === 0 ? value : value.toFixed(1)} ${UNITS[unit]}`;
}

/** Milliseconds of `90m`, `12h` or `7d`; undefined for what is none. */
export function parseTime(text: string): number | undefined {
  const match = /^(\d+(?:\.\d+)?)([mhd])$/.exec(text);
  // The pattern has found one of its keys.
  return match ? Number(match[1]) * MS_OF[match[2] as keyof typeof MS_OF] : undefined;
}
