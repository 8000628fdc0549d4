/** The sandboxes that other servers keep and that have not ended, as the one that leads knows them: by what it gave away, by what it hears, and by what the store says of what nobody heard. */
import type { MemberId, SandboxId } from '../ids.ts';
import type { Ledger } from '../platform/ledger.ts';
import type { Logger } from '../telemetry/logger.ts';
import { isKeptBy, type Keepers } from './keepers.ts';
import type { LifeEntry, LifeLog } from './life-log.ts';
import type { SandboxRepository, SandboxRow } from './repositories.ts';
import type { SandboxState } from './state.ts';

export interface KeptElsewhereParts {
  readonly repository: SandboxRepository;
  readonly keepers: Keepers;
  readonly ledger: Ledger;
  readonly lifeLog: LifeLog;
  readonly logger: Logger;
  readonly now: () => number;
}

/** One of them, as far as it counts here. Other servers suspend none. */
export interface Kept extends Pick<SandboxRow, 'taskId' | 'tokenId' | 'spec'> {
  readonly memberId: MemberId;
  readonly state: SandboxState;
  readonly isAsleep: false;
}

export class KeptElsewhere {
  readonly #parts: KeptElsewhereParts;
  readonly #kept = new Map<SandboxId, Kept>();

  constructor(parts: KeptElsewhereParts) {
    this.#parts = parts;
  }

  get size(): number {
    return this.#kept.size;
  }

  all(): Iterable<Kept> {
    return this.#kept.values();
  }

  /** How many a server keeps. */
  countOf(member: MemberId): number {
    return [...this.#kept.values()].filter(({ memberId }) => memberId === member).length;
  }

  /** Which server keeps it; undefined for what is none of them. */
  memberOf(id: SandboxId): MemberId | undefined {
    return this.#kept.get(id)?.memberId;
  }

  /** Has a server begin with one, once. @throws what it refuses that for; then it was never made */
  async begin(row: SandboxRow, memberId: MemberId): Promise<void> {
    const { keepers, ledger, repository } = this.#parts;
    this.#add(row, memberId);
    try {
      await keepers.keeper(memberId).begin(row.id);
    } catch (error) {
      if (!keepers.lives(memberId)) return; // whoever takes over what it kept begins with this as well
      this.#kept.delete(row.id);
      ledger.tell(`sandbox ${row.id}`, () => repository.delete(row));
      throw error;
    }
  }

  /** What happened to one, as its server says. */
  heard(entry: LifeEntry): void {
    const { sandboxId: id, kind } = entry;
    const known = this.#kept.get(id);
    if (!known) return;
    const { ledger, repository, lifeLog } = this.#parts;
    if (kind === 'ended') {
      this.#kept.delete(id);
      ledger.tell(`heard ${id}`, () => repository.noteHeard(id));
    } else if (kind !== 'placed' && kind !== 'ready') this.#kept.set(id, { ...known, state: kind });
    lifeLog.append(entry);
  }

  /** What the store says of those that a server keeps, when nobody may have heard what happened to them. */
  hearAnew(member: MemberId): void {
    for (const [id, { memberId }] of this.#kept) {
      if (memberId !== member) continue;
      const row = this.#parts.repository.get(id);
      if (row?.state === 'ended') this.#hearEnd(row);
    }
  }

  /**
   * After a start of the server that leads: knows those that others keep, of what has not ended, and hears of what ended while nobody led.
   * @returns the rest, which is this server's
   */
  recover(live: readonly SandboxRow[]): readonly SandboxRow[] {
    const { keepers, repository, logger } = this.#parts;
    const own = live.filter((row) => isKeptBy(keepers, row));
    const isOwn = new Set(own);
    for (const row of live) {
      const { id: sandbox, memberId, state } = row;
      if (memberId === undefined || isOwn.has(row)) continue;
      this.#add(row, memberId);
      // The server that led before may have been lost before it told that one.
      if (state === 'created')
        this.begin(row, memberId).catch((err: unknown) => logger.warn({ sandbox, err }, 'sandbox.not-begun'));
    }
    for (const gone of new Set(own.flatMap(({ memberId }) => memberId ?? []))) repository.takeBack(gone);
    for (const row of repository.unheard()) {
      if (row.memberId !== undefined) this.#add(row, row.memberId);
      this.#hearEnd(row);
    }
    return own;
  }

  /** What a server kept that is gone is this one's from now on, and stays among these until it is told so with `forget`. */
  takeBack(member: MemberId): readonly SandboxRow[] {
    const { repository } = this.#parts;
    this.hearAnew(member);
    repository.takeBack(member);
    const its = [...this.#kept].filter(([, { memberId }]) => memberId === member);
    return its.flatMap(([id]) => repository.get(id) ?? []);
  }

  forget(rows: readonly SandboxRow[]): void {
    for (const { id } of rows) this.#kept.delete(id);
  }

  #add({ id, taskId, tokenId, spec, state }: SandboxRow, memberId: MemberId): void {
    this.#kept.set(id, { taskId, tokenId, spec, state, memberId, isAsleep: false });
  }

  #hearEnd({ id: sandboxId, taskId, spec, result, endedAtMs: timeMs = this.#parts.now() }: SandboxRow): void {
    const of = { sandboxId, taskId, instance: undefined, sidecarOf: spec.sidecarOf?.sandboxId };
    this.heard({ ...of, kind: 'ended', result, timeMs });
  }
}
