/** Result codes of SQLite, extended ones included: https://www.sqlite.org/rescode.html */

/** Another connection has a lock. */
export const SQLITE_BUSY = 5;
/** What a unique index refuses. */
export const SQLITE_CONSTRAINT_UNIQUE = 2067;

/** The code of an error of `node:sqlite`; undefined for another error. */
export const sqliteCode = (error: unknown): number | undefined =>
  error instanceof Error && 'errcode' in error && typeof error.errcode === 'number'
    ? error.errcode
    : undefined;
