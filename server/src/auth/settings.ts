/** Values of the `settings` table that authentication keeps: hashes and the signing key. */
import type { Database } from '../store/database.ts';

export interface Settings {
  get(key: string): string | undefined;
  set(key: string, value: string): void;
}

export function settingsOf(database: Database): Settings {
  const select = database.prepare('SELECT value FROM settings WHERE key = ?');
  const upsert = database.prepare(
    'INSERT INTO settings (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value',
  );
  return {
    get: (key) => {
      const value = select.get(key)?.value;
      return typeof value === 'string' ? value : undefined;
    },
    set: (key, value) => void upsert.run(key, value),
  };
}
