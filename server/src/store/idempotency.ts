/** Answers to calls that must have their effect once, by key. The API names what it needs of this (`api/modal/rpc/idempotency.ts`). */
import type { Database } from './database.ts';

export class SqlAnswers {
  readonly #select;
  readonly #insert;
  readonly #expire;

  constructor(database: Database) {
    this.#select = database.prepare('SELECT response FROM idempotency WHERE key = ? AND created_at_ms > ?');
    this.#insert = database.prepare(
      `INSERT INTO idempotency (key, method, response, created_at_ms) VALUES (?, ?, ?, ?)
       ON CONFLICT (key) DO UPDATE SET method = excluded.method, response = excluded.response, created_at_ms = excluded.created_at_ms`,
    );
    this.#expire = database.prepare('DELETE FROM idempotency WHERE created_at_ms <= ?');
  }

  get(key: string, sinceMs: number): Uint8Array | undefined {
    const answer = this.#select.get(key, sinceMs)?.response;
    return answer instanceof Uint8Array ? answer : undefined;
  }

  put(key: string, method: string, answer: Uint8Array, nowMs: number): void {
    this.#insert.run(key, method, answer, nowMs);
  }

  expire(untilMs: number): void {
    this.#expire.run(untilMs);
  }
}
