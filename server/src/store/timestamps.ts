/** Creation times that lists page by: unique and increasing within one table. */
import type { Database } from './database.ts';

/** Tables whose `created_at_ms` orders a list that clients page through. */
export type TimestampedTable = 'apps' | 'environments' | 'secrets' | 'mounts' | 'volumes';

/**
 * The creation time of the next row: the clock's, or one millisecond after the newest row when the clock has not moved on (or went back). Clients page
 * by "strictly before the last one", so equal times would lose rows.
 */
export function nextCreationTime(database: Database, table: TimestampedTable, nowMs: number): number {
  const row = database.prepare(`SELECT MAX(created_at_ms) AS newest FROM ${table}`).get();
  const newest = typeof row?.newest === 'number' ? row.newest : 0;
  return Math.max(Math.floor(nowMs), newest + 1);
}
