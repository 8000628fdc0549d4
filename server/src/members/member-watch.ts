/**
 * How the server that leads knows those that keep sandboxes under it: who may be given some, what happens to these, and that one is gone, whose sandboxes it takes over then.
 */
import { connect } from 'node:net';
import type { MemberId } from '../ids.ts';
import { errorCode } from '../platform/error-code.ts';
import { removeDirsOfGone } from '../platform/member-dirs.ts';
import { repeat } from '../platform/repeat.ts';
import { delay } from '../platform/wait.ts';
import type { Keeper, Keepers } from '../sandboxes/keepers.ts';
import type { LifeEntry } from '../sandboxes/life-log.ts';
import type { Logger } from '../telemetry/logger.ts';
import { isSamePeer, type Peer } from '../transport/peer-link.ts';
import type { PeerSessions } from '../transport/peer-sessions.ts';
import { PeerCalls } from './peer-calls.ts';
import type { Member, MemberRegistry } from './registry.ts';

export interface MemberWatchParts {
  readonly registry: MemberRegistry;
  readonly sessions: PeerSessions;
  /** 32 bytes that all servers of one database have, and nobody else. */
  readonly key: Uint8Array;
  readonly dataDir: string;
  /** Where this server listens, once it does. */
  readonly place: () => Peer | undefined;
  readonly logger: Logger;
  /** Between two looks at who lives; 1 s by default. */
  readonly lookMs?: number;
  /** Milliseconds. */
  readonly now: () => number;
}

/** What the watch tells of sandboxes that others keep. `SandboxService` is one. */
export interface Watched {
  heard(entry: LifeEntry): void;
  hearAnew(member: MemberId): void;
  takeOver(member: MemberId): Promise<void>;
  clearAway(member: MemberId): Promise<void>;
}

const LOOK_MS = 1_000;
/** Between tries to hear what happens at one that does not answer. */
const PAUSE_MS = 500;
/**
 * A server without an answer of the database ends itself after 15 s (`lead.ts`). One that the database does not know any more is gone when nobody listens where it did, else after that time and
 * some more.
 */
const SILENCE_MS = 20_000;
const KNOCK_TIMEOUT_MS = 1_000;

export class MemberWatch implements Keepers {
  /** It leads. */
  readonly self = undefined;
  readonly #parts: MemberWatchParts;
  /** Those it hears of, with how to stop. */
  readonly #heard = new Map<MemberId, AbortController>();
  /** Since when the database does not know one. */
  readonly #silentSinceMs = new Map<MemberId, number>();
  /** When those were taken over that may still have had something made. */
  readonly #goneAtMs = new Map<MemberId, number>();
  #isClosed = false;
  /** Counts up, so that each has its turn. */
  #turn = 0;

  constructor(parts: MemberWatchParts) {
    this.#parts = parts;
  }

  choose(): MemberId | undefined {
    const able = this.#parts.registry.known.filter(
      ({ id, lives, peer }) => lives && peer && this.#heard.has(id),
    );
    return able[this.#turn++ % Math.max(able.length, 1)]?.id;
  }

  /** Until it was taken over, whatever the database says. */
  lives(id: MemberId): boolean {
    return this.#parts.registry.find(id) !== undefined;
  }

  peer(id: MemberId): Peer | undefined {
    return this.#isClosed ? undefined : this.#parts.registry.find(id)?.peer;
  }

  /** Nobody is asked any more. */
  close(): void {
    this.#isClosed = true;
  }

  keeper(id: MemberId | undefined): Keeper {
    return this.#calls(id);
  }

  #calls(id: MemberId | undefined): PeerCalls {
    const { sessions, key } = this.#parts;
    return new PeerCalls({ sessions, key, peer: () => (id === undefined ? undefined : this.peer(id)) });
  }

  /** Before sandboxes are recovered: whoever has let go of theirs is no more, and they are this server's. */
  forgetLeft(): void {
    const { registry } = this.#parts;
    for (const member of registry.look()) {
      if (!member.peer && !member.lives && registry.fence(member)) registry.forget(member.id);
    }
    void this.#removeDirs();
  }

  #removeDirs(): Promise<void> {
    const { dataDir, logger } = this.#parts;
    return removeDirsOfGone(
      dataDir,
      (member) => this.lives(member),
      (member, err) => logger.warn({ member, err }, 'member.files-left'),
    );
  }

  /** @returns how to stop */
  watch(sandboxes: Watched): () => void {
    const { logger, lookMs = LOOK_MS } = this.#parts;
    const looks = repeat(lookMs, [{ name: 'members', run: () => this.#look(sandboxes) }], logger);
    return () => {
      looks();
      for (const over of this.#heard.values()) over.abort();
    };
  }

  async #look(sandboxes: Watched): Promise<void> {
    for (const member of this.#parts.registry.look()) {
      if (member.lives && member.peer) {
        this.#silentSinceMs.delete(member.id);
        this.#hear(member.id, sandboxes);
      } else if (await this.#isGone(member)) await this.#takeOver(member, sandboxes);
    }
    for (const [id, atMs] of this.#goneAtMs) {
      if (this.#parts.now() - atMs < SILENCE_MS) continue;
      await sandboxes.clearAway(id);
      this.#goneAtMs.delete(id);
    }
  }

  /** Has what happens at a member come here, from now on. */
  #hear(id: MemberId, sandboxes: Watched): void {
    if (this.#heard.has(id)) return;
    const over = new AbortController();
    this.#heard.set(id, over);
    void this.#follow(id, sandboxes, over.signal);
  }

  async #follow(id: MemberId, sandboxes: Watched, signal: AbortSignal): Promise<void> {
    const { logger } = this.#parts;
    while (!signal.aborted) {
      try {
        for await (const entry of this.#calls(id).life(() => sandboxes.hearAnew(id), signal))
          sandboxes.heard(entry);
      } catch (err) {
        if (!signal.aborted) logger.debug({ member: id, err }, 'member.not-heard');
      }
      await delay(PAUSE_MS, signal).catch(() => {});
    }
  }

  async #isGone({ id, peer }: Member): Promise<boolean> {
    if (!peer) return true; // it has let go
    const { registry, place } = this.#parts;
    const others = registry.known.map((other) => (other.lives ? other.peer : undefined));
    if ([place(), ...others].some((other) => isSamePeer(peer, other))) return true; // one came after it
    const sinceMs = this.#silentSinceMs.get(id) ?? this.#parts.now();
    this.#silentSinceMs.set(id, sinceMs);
    return this.#parts.now() - sinceMs > SILENCE_MS || (await isRefused(peer));
  }

  async #takeOver(member: Member, sandboxes: Watched): Promise<void> {
    const { registry, logger } = this.#parts;
    // If it is back in this moment it has its lock, and goes on; else it will not have it any more, and ends if it lives.
    if (!registry.fence(member)) return;
    const { id } = member;
    this.#heard.get(id)?.abort();
    this.#heard.delete(id);
    this.#silentSinceMs.delete(id);
    await sandboxes.takeOver(id);
    registry.forget(id);
    this.#goneAtMs.set(id, this.#parts.now());
    await this.#removeDirs();
    logger.warn({ member: id }, 'member.taken-over');
  }
}

/** Whether the machine is there, and nobody listens at that port of it. */
function isRefused({ host, port }: Peer): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host, port, timeout: KNOCK_TIMEOUT_MS });
    const say = (refused: boolean) => {
      socket.destroy();
      resolve(refused);
    };
    socket.once('connect', () => say(false));
    socket.once('timeout', () => say(false));
    socket.once('error', (error) => say(errorCode(error) === 'ECONNREFUSED'));
  });
}
