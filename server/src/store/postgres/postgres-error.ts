/** https://www.postgresql.org/docs/current/errcodes-appendix.html */
const UNIQUE_VIOLATION = '23505';

/** What PostgreSQL answered a statement with. Its `detail`, which may quote values of rows, is left out. */
export class PostgresError extends Error {
  override readonly name = 'PostgresError';
  /** SQLSTATE. */
  readonly code: string;
  readonly constraint: string | undefined;

  constructor(message: string, code: string, constraint: string | undefined) {
    super(message);
    this.code = code;
    this.constraint = constraint;
  }
}

/** PostgreSQL names what it makes of PRIMARY KEY `…_pkey`. */
export const isUniqueInPostgres = (error: unknown): boolean =>
  error instanceof PostgresError && error.code === UNIQUE_VIOLATION && !error.constraint?.endsWith('_pkey');
