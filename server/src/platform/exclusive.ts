/**
 * Makes sure that one server at a time works on a data directory. The lock is SQLite's own file lock, which the kernel
 * releases when the process dies, however it dies.
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { SkerryError } from '../errors/skerry-error.ts';
import { SQLITE_BUSY, sqliteCode } from './sqlite-code.ts';

/** Takes the lock. Returns how to give it back. @throws SkerryError `conflict` when another process has it */
export function lockDataDir(dataDir: string): () => void {
  mkdirSync(dataDir, { recursive: true, mode: 0o700 });
  const lock = new DatabaseSync(join(dataDir, 'server.lock'));
  try {
    // Nothing is ever written, and no journal is: a full disk must keep no server from starting, nor `skerry down` from working.
    lock.exec('PRAGMA journal_mode = MEMORY; PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE');
  } catch (error) {
    lock.close();
    if (sqliteCode(error) !== SQLITE_BUSY) throw error;
    throw new SkerryError(
      'conflict',
      `Another Skerry server works on ${dataDir}. Stop it with \`skerry down\`, or choose another --data-dir.`,
      { cause: error },
    );
  }
  return () => lock.close();
}
