/** Numbers and times as people read them, each with its unit on one line. */

/** A space that no line breaks at. */
const SPACE = '\u00a0';

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB'] as const;

/** As 50 %. @param part of 1 */
export const percent = (part: number): string => `${Math.round(part * 100)}${SPACE}%`;

/** As 1.5 MiB. */
export function bytes(count: number): string {
  let value = count;
  let unit = 0;
  for (; value >= 1024 && unit < UNITS.length - 1; unit++) value /= 1024;
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)}${SPACE}${UNITS[unit]}`;
}

/** As 3 min: the largest unit alone. */
export function duration(ms: number): string {
  const seconds = Math.max(0, ms) / 1000;
  if (seconds < 1) return `${Math.round(seconds * 1000)}${SPACE}ms`;
  if (seconds < 60) return `${Math.floor(seconds)}${SPACE}s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)}${SPACE}min`;
  if (seconds < 172_800) return `${Math.floor(seconds / 3600)}${SPACE}h`;
  return `${Math.floor(seconds / 86_400)}${SPACE}days`;
}

/** As the reader's place writes it. */
export const moment = (at: string | number): string =>
  new Date(at).toLocaleString(undefined, { dateStyle: 'medium', timeStyle: 'short' });
