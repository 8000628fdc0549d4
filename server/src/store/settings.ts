/** The texts by key that this installation keeps. */
import { z } from 'zod';
import type { KeptValues } from '../platform/kept-values.ts';
import type { Database } from './database.ts';

export type SettingKey =
  | 'boot-id'
  | 'data-directory'
  | 'default-environment'
  | 'environment-quotas'
  | 'leader'
  | 'auth.token'
  | 'auth.further-tokens'
  | 'auth.signing-key'
  | 'auth.sealed-signing-key'
  | 'headers.sealed-authority';

const rowSchema = z.object({ value: z.string() });

export class SqlSettings implements KeptValues<SettingKey> {
  readonly #database: Database;
  readonly #get;
  readonly #set;
  readonly #delete;

  constructor(database: Database) {
    this.#database = database;
    this.#get = database.prepare('SELECT value FROM settings WHERE key = ?');
    this.#set = database.prepare(
      'INSERT INTO settings (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value',
    );
    this.#delete = database.prepare('DELETE FROM settings WHERE key = ?');
  }

  get(key: SettingKey): string | undefined {
    const row = this.#get.get(key);
    return row === undefined ? undefined : rowSchema.parse(row).value;
  }

  set(key: SettingKey, value: string): void {
    this.#set.run(key, value);
  }

  delete(key: SettingKey): void {
    this.#delete.run(key);
  }

  scrub(): void {
    this.#database.scrub();
  }
}
