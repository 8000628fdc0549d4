/** Rows of secrets. */
import { z } from 'zod';
import type { EnvironmentId, SecretId } from '../ids.ts';
import type { SecretRepository, SecretRow } from '../secrets/repositories.ts';
import type { Database } from './database.ts';
import { nextCreationTime } from './timestamps.ts';

const secretRow = z
  .object({
    id: z.string(),
    environment_id: z.string(),
    name: z.string().nullable(),
    keys: z.string(),
    ciphertext: z.instanceof(Uint8Array),
    created_at_ms: z.number(),
    last_used_at_ms: z.number().nullable(),
    expires_at_ms: z.number().nullable(),
  })
  .transform(
    (row): SecretRow => ({
      id: row.id as SecretId, // the columns hold only ids that `ids.ts` made
      environmentId: row.environment_id as EnvironmentId,
      name: row.name ?? undefined,
      keys: z.array(z.string()).parse(JSON.parse(row.keys)),
      ciphertext: row.ciphertext,
      createdAtMs: row.created_at_ms,
      lastUsedAtMs: row.last_used_at_ms ?? undefined,
      expiresAtMs: row.expires_at_ms ?? undefined,
    }),
  );

export class SqlSecrets implements SecretRepository {
  readonly #database: Database;
  readonly #byId;
  readonly #byName;
  readonly #list;
  readonly #insert;
  readonly #setValues;
  readonly #used;
  readonly #delete;
  readonly #deleteExpired;

  constructor(database: Database) {
    this.#database = database;
    this.#byId = database.prepare('SELECT * FROM secrets WHERE id = ?');
    this.#byName = database.prepare('SELECT * FROM secrets WHERE environment_id = ? AND name = ?');
    this.#list = database.prepare(
      `SELECT * FROM secrets WHERE environment_id = ? AND name IS NOT NULL AND created_at_ms < ?
       ORDER BY created_at_ms DESC LIMIT ?`,
    );
    this.#insert = database.prepare(
      `INSERT INTO secrets (id, environment_id, name, keys, ciphertext, created_at_ms, expires_at_ms)
       VALUES (?, ?, ?, ?, ?, ?, ?) RETURNING *`,
    );
    this.#setValues = database.prepare(
      'UPDATE secrets SET keys = ?, ciphertext = ? WHERE id = ? RETURNING *',
    );
    this.#used = database.prepare('UPDATE secrets SET last_used_at_ms = ? WHERE id = ?');
    this.#delete = database.prepare('DELETE FROM secrets WHERE id = ?');
    this.#deleteExpired = database.prepare('DELETE FROM secrets WHERE expires_at_ms <= ?');
  }

  byId(id: string): SecretRow | undefined {
    const row = this.#byId.get(id);
    return row && secretRow.parse(row);
  }

  byName(environmentId: EnvironmentId, name: string): SecretRow | undefined {
    const row = this.#byName.get(environmentId, name);
    return row && secretRow.parse(row);
  }

  list(environmentId: EnvironmentId, beforeMs: number, limit: number): readonly SecretRow[] {
    return this.#list.all(environmentId, beforeMs, limit).map((row) => secretRow.parse(row));
  }

  insert(secret: Omit<SecretRow, 'createdAtMs' | 'lastUsedAtMs'>, nowMs: number): SecretRow {
    const row = this.#insert.get(
      secret.id,
      secret.environmentId,
      secret.name ?? null,
      JSON.stringify(secret.keys),
      secret.ciphertext,
      nextCreationTime(this.#database, 'secrets', nowMs),
      secret.expiresAtMs ?? null,
    );
    return secretRow.parse(row);
  }

  setValues(id: SecretId, keys: readonly string[], ciphertext: Uint8Array): SecretRow {
    return secretRow.parse(this.#setValues.get(JSON.stringify(keys), ciphertext, id));
  }

  used(id: SecretId, nowMs: number): void {
    this.#used.run(nowMs, id);
  }

  delete(id: SecretId): void {
    this.#delete.run(id);
  }

  deleteExpired(nowMs: number): number {
    return Number(this.#deleteExpired.run(nowMs).changes);
  }
}
