/** Servers that keep sandboxes under the one that leads: where each is, and whether it lives, which its lock says. PostgreSQL only. */
import type { MemberId } from '../ids.ts';
import type { MemberRepository, MemberRow } from '../members/registry.ts';
import type { Database } from './database.ts';
import { MEMBER_SPACE, memberLock } from './postgres/locks.ts';

export class SqlMembers implements MemberRepository {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  /** In the place of what it said before. */
  put({ id, lockKey, place, sinceMs }: MemberRow): void {
    this.#database
      .prepare(
        `INSERT INTO members (id, lock_key, place, since_ms) VALUES (?, ?, ?, ?)
         ON CONFLICT (id) DO UPDATE SET place = excluded.place`,
      )
      .run(id, lockKey, place, sinceMs);
  }

  takeLock(lockKey: number): boolean {
    const row = this.#database.prepare(`SELECT pg_try_advisory_lock(${memberLock(lockKey)}) AS taken`).get();
    return row?.taken === 1;
  }

  delete(id: MemberId): void {
    this.#database.prepare('DELETE FROM members WHERE id = ?').run(id);
  }

  /** All that were not deleted, oldest first. `lives`: the database knows its connection. */
  all(): readonly (MemberRow & { readonly lives: boolean })[] {
    const rows = this.#database
      .prepare(
        `SELECT id, lock_key, place, since_ms, EXISTS (
           SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND granted AND classid = ${MEMBER_SPACE} AND objid = lock_key
           AND objsubid = 2 AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
         ) AS lives FROM members ORDER BY since_ms, id`,
      )
      .all();
    return rows.map((row) => ({
      id: row.id as MemberId, // written by `put` only
      lockKey: Number(row.lock_key),
      place: String(row.place),
      sinceMs: Number(row.since_ms),
      lives: row.lives === 1,
    }));
  }
}
