/**
 * What the repositories beside this file, one per aggregate, write their statements to: SQLite (`sqlite.ts`) or PostgreSQL (`postgres/`), which take the
 * same statements. These are SQL that both know, with SQLite's placeholders (`?`, `?3`), its functions of JSON, which PostgreSQL's schema brings
 * (`postgres/schema.ts`), and rows of numbers, texts, bytes and null. `store.ts` has the repositories all.
 *
 * Everything is synchronous: services check and write in one turn, and nobody comes between.
 */
import { SQLITE_CONSTRAINT_UNIQUE, sqliteCode } from '../platform/sqlite-code.ts';
import { isUniqueInPostgres } from './postgres/postgres-error.ts';

export type Value = string | number | bigint | null | NodeJS.ArrayBufferView;
export type Row = Record<string, unknown>;

export interface Statement {
  /** The first row. */
  get(...values: Value[]): Row | undefined;
  all(...values: Value[]): Row[];
  run(...values: Value[]): { readonly changes: number | bigint };
}

export interface Database {
  prepare(sql: string): Statement;
  /** Statements without values. */
  exec(sql: string): void;
  readonly isTransaction: boolean;
  /** Use `transaction`. */
  begin(): void;
  commit(): void;
  rollback(): void;
  /** Statements that were sent elsewhere, and how long the server has waited for them, milliseconds. Undefined where nothing is. */
  readonly waits: { readonly count: number; readonly ms: number } | undefined;
  /** Overwrites what of deleted and replaced rows is still in the database's files, as far as it can. */
  scrub(): void;
  close(): void;
}

/** Runs `work` in one transaction; rolls back when it throws. */
export function transaction<T>(database: Database, work: () => T): T {
  database.begin();
  try {
    const result = work();
    database.commit();
    return result;
  } catch (error) {
    // On a full disk SQLite has rolled back by itself, and another one would fail and hide why.
    if (database.isTransaction) database.rollback();
    throw error;
  }
}

/** Brings a database that was just opened to this version's schema. One that cannot be is closed, else its file or its lock stays taken. @throws what `migrate` does */
export function migrated<T extends Database>(database: T, migrate: (database: T) => void): T {
  try {
    migrate(database);
    return database;
  } catch (error) {
    database.close();
    throw error;
  }
}

/** Whether another row has what a unique index allows once; a primary key, whose values nobody chooses twice, is no such index. */
export const isUniqueViolation = (error: unknown): boolean =>
  sqliteCode(error) === SQLITE_CONSTRAINT_UNIQUE || isUniqueInPostgres(error);
