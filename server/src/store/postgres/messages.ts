/** What the server's thread and the worker that has the connection say to each other; each passes as a structured clone. */
import type { MessagePort } from 'node:worker_threads';
import type { Row, Value } from '../database.ts';
import type { DatabaseSource } from './connection.ts';

export interface WorkerData {
  readonly source: DatabaseSource;
  readonly answerTimeoutMs: number;
  /** What the connection holds for as long as it lives (`locks.ts`). */
  readonly lock: string;
  readonly port: MessagePort;
  /** One Int32, which goes up by one with every answer. */
  readonly answers: SharedArrayBuffer;
  /** Those of workers before this one, of which no transaction goes on. */
  readonly sessionsBefore: number;
}

export type Request =
  | { readonly kind: 'close' }
  | {
      readonly kind: 'query';
      readonly text: string;
      /** Of the statement that the connection keeps prepared; without one `text` may be several statements. */
      readonly name?: string;
      readonly values?: readonly Value[];
      /** The connection that a transaction began on; `begin` with the first statement of one, none outside. */
      readonly session?: number | 'begin';
    };

export interface QueryAnswer {
  readonly kind: 'result';
  readonly rows: Row[];
  readonly changes: number;
  /** The first word of what was done, as `SELECT`; of several statements that of the last one. */
  readonly command: string;
  /** Counts the connections. */
  readonly session: number;
}

export type Answer =
  | QueryAnswer
  | { readonly kind: 'closed' }
  | {
      readonly kind: 'refused';
      readonly message: string;
      readonly code: string;
      readonly constraint: string | undefined;
      readonly session: number;
    }
  /** Whether the statement had its effect is not known when it went with the connection. */
  | { readonly kind: 'unreachable'; readonly why: string }
  /** There is no connection until somebody mends something. */
  | { readonly kind: 'unusable'; readonly why: string }
  /** Another server has the lock of this database. */
  | { readonly kind: 'taken' };
