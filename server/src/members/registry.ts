/** Which servers keep sandboxes under the one that leads, and which of these are gone. */
import { randomInt } from 'node:crypto';
import { z } from 'zod';
import { isMemberId, type MemberId, newMemberId } from '../ids.ts';
import type { Peer } from '../transport/peer-link.ts';

/** A row of each. `store/members.ts` implements this. */
export interface MemberRepository {
  put(row: MemberRow): void;
  delete(id: MemberId): void;
  /** Oldest first. `lives`: the database knows its connection. */
  all(): readonly (MemberRow & { readonly lives: boolean })[];
  /** Whether this server has the lock of another one from now on: that one has none, and will not have it again. */
  takeLock(lockKey: number): boolean;
}

export interface MemberRow {
  readonly id: MemberId;
  /** Of the lock that says that it lives. */
  readonly lockKey: number;
  /** Where it listens, as JSON; empty once it has let go of its sandboxes. */
  readonly place: string;
  readonly sinceMs: number;
}

export interface Member {
  readonly id: MemberId;
  readonly lockKey: number;
  /** Undefined: it has let go of its sandboxes. */
  readonly peer: Peer | undefined;
  /** Whether the database knows its connection. */
  readonly lives: boolean;
}

const peerSchema = z.object({ host: z.string(), port: z.number().int(), fingerprint: z.string() });

/** Of one that begins. */
export const newMember = (): Pick<MemberRow, 'id' | 'lockKey'> => ({
  id: newMemberId(),
  lockKey: randomInt(2 ** 31), // the key of a lock of the database is an `int4`
});

export class MemberRegistry {
  readonly #rows: MemberRepository;
  /** Whose locks this server has: they will not be back. */
  readonly #fenced = new Set<MemberId>();
  #known: readonly Member[] = [];

  constructor(rows: MemberRepository) {
    this.#rows = rows;
    this.look();
  }

  /** All, as they are now. @throws what the database says */
  look(): readonly Member[] {
    this.#known = this.#rows.all().map(({ id, lockKey, place, lives }) => ({
      ...{ id, lockKey, lives: lives && !this.#fenced.has(id) },
      peer: place === '' ? undefined : peerSchema.parse(JSON.parse(place)),
    }));
    return this.#known;
  }

  /** As they were at the last look. */
  get known(): readonly Member[] {
    return this.#known;
  }

  /** One of that id, which may have come since the last look. */
  find(id: MemberId): Member | undefined {
    const one = (): Member | undefined => this.#known.find((member) => member.id === id);
    if (one() || !isMemberId(id)) return one();
    this.look();
    return one();
  }

  forget(id: MemberId): void {
    this.#rows.delete(id);
    this.#fenced.delete(id);
    this.#known = this.#known.filter((member) => member.id !== id);
  }

  /** @see MemberRepository.takeLock */
  fence({ id, lockKey }: Member): boolean {
    if (!this.#fenced.has(id) && this.#rows.takeLock(lockKey)) this.#fenced.add(id);
    return this.#fenced.has(id);
  }
}
