/** Small facts about this installation that must outlive a restart, as text by key. */
import { z } from 'zod';
import type { Database } from './database.ts';

export type SettingKey =
  | 'boot-id'
  | 'default-environment'
  | 'auth.token'
  | 'auth.further-tokens'
  | 'auth.signing-key'
  | 'auth.sealed-signing-key';

const rowSchema = z.object({ value: z.string() });

export class SettingsRepository {
  readonly #get;
  readonly #set;
  readonly #delete;

  constructor(database: Database) {
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
}
