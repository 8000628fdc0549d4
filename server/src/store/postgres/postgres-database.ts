/** PostgreSQL behind the interface of the embedded database. Every statement is a round trip, for which the server waits: it belongs on the same machine or next to it. */
import { createHash } from 'node:crypto';
import { SkerryError } from '../../errors/skerry-error.ts';
import type { Database, Row, Statement, Value } from '../database.ts';
import { BlockingWorker, type BlockingWorkerOptions } from './blocking-worker.ts';
import type { DatabaseSource } from './connection.ts';
import { parseDatabaseUrl } from './database-url.ts';
import type { QueryAnswer, Request } from './messages.ts';
import { withDollars } from './placeholders.ts';
import { PostgresError } from './postgres-error.ts';
import type { TableColumns } from './read-tables.ts';
import { unreachable, unusable } from './unusable.ts';

const DISK_FULL = '53100';
/** 2^63 - 1 and - 2^63: what PostgreSQL has for "more than any" and "less than any". */
const HIGHEST = 9223372036854775807n;
const LOWEST = -9223372036854775808n;

export class PostgresDatabase implements Database {
  readonly #worker: BlockingWorker;
  readonly #source: DatabaseSource;
  readonly #place: string;
  /** The connection that a transaction runs on; `begin` until its first statement, which is sent together with that. */
  #session: number | 'begin' | undefined;
  #waits = { count: 0, ms: 0 };

  /** @throws SkerryError `invalid-argument` for a URL that is none */
  constructor(source: DatabaseSource, options: BlockingWorkerOptions = {}) {
    this.#source = source;
    this.#place = parseDatabaseUrl(source.url).place;
    this.#worker = new BlockingWorker(source, options);
  }

  /** `host:port/name`, for texts. */
  get place(): string {
    return this.#place;
  }

  get waits(): Database['waits'] {
    return this.#waits;
  }

  get isTransaction(): boolean {
    return this.#session !== undefined;
  }

  /** @see readTables */
  async readTables(
    tables: readonly TableColumns[],
    take: (table: TableColumns, rows: readonly Row[]) => void,
  ): Promise<void> {
    const { readTables } = await import('./read-tables.ts'); // loads all that the worker has
    return readTables(this.#source, tables, take);
  }

  prepare(sql: string): Statement {
    const text = withDollars(sql);
    // The same statement is the same one to the connection, whoever prepares it.
    const name = createHash('sha256').update(text).digest('hex').slice(0, 32);
    const query = (values: Value[]) =>
      this.#query({ kind: 'query', text, name, values: values.map(storable) });
    return {
      get: (...values) => query(values).rows[0],
      all: (...values) => query(values).rows,
      run: (...values) => ({ changes: query(values).changes }),
    };
  }

  exec(sql: string): void {
    this.#query({ kind: 'query', text: sql });
  }

  begin(): void {
    if (this.#session !== undefined) throw new Error('a transaction within a transaction');
    this.#session = 'begin';
  }

  commit(): void {
    if (this.#session === 'begin') {
      this.#session = undefined;
      return;
    }
    // One that a statement failed in is rolled back, without an error.
    const { command } = this.#query({ kind: 'query', text: 'COMMIT' });
    this.#session = undefined;
    if (command !== 'COMMIT') throw new Error('a transaction in which a statement failed was committed');
  }

  rollback(): void {
    try {
      if (this.#session !== 'begin') this.#query({ kind: 'query', text: 'ROLLBACK' });
    } catch (error) {
      // With the connection the transaction went, and the first error says why.
      if (!(error instanceof SkerryError)) throw error;
    } finally {
      this.#session = undefined;
    }
  }

  /** Writes the table anew, without what was deleted of it. What the database's log and its backups hold is for whoever keeps them. */
  scrub(): void {
    this.exec('VACUUM FULL settings');
  }

  close(): void {
    this.#worker.close();
  }

  #query(request: Extract<Request, { kind: 'query' }>): QueryAnswer {
    const askedAt = performance.now();
    const answer = this.#worker.ask(
      this.#session === undefined ? request : { ...request, session: this.#session },
    );
    this.#waits = { count: this.#waits.count + 1, ms: this.#waits.ms + performance.now() - askedAt };
    if (this.#session === 'begin' && 'session' in answer) this.#session = answer.session;
    switch (answer.kind) {
      case 'result':
        return answer;
      case 'refused':
        if (answer.code === DISK_FULL)
          throw new SkerryError('disk-full', `The database at ${this.#place} is out of disk space.`);
        throw new PostgresError(answer.message, answer.code, answer.constraint);
      case 'unreachable':
        throw unreachable(this.#place, answer.why);
      case 'unusable':
        throw unusable(this.#place, answer.why);
      case 'taken':
        throw new SkerryError(
          'conflict',
          `Another Skerry server works on the database at ${this.#place}. Stop it, or give this one a database of its own.`,
        );
      case 'closed':
        throw new Error('the database is closed');
      default:
        return answer satisfies never;
    }
  }
}

/** PostgreSQL's texts have no NUL: it is kept as the character for what cannot be shown, as lone surrogates are. */
function storable(value: Value): Value {
  if (typeof value === 'string') return value.replaceAll('\0', '\ufffd');
  if (value === Infinity) return HIGHEST;
  if (value === -Infinity) return LOWEST;
  return value;
}
