/**
 * Which of several servers keeps a sandbox (decision 0071): who has its instance, its clocks and its processes, and writes its rows. One of them leads, which admits all sandboxes and keeps
 * those that it gives nobody else. `members/` implements this, between servers.
 */
import type { Duplex } from 'node:stream';
import type { MemberId, SandboxId } from '../ids.ts';
import type { SandboxRow } from './repositories.ts';
import type { Usage } from './sandboxes.ts';
import type { SandboxSpec } from './spec.ts';
import type { SandboxResult } from './state.ts';

/** All servers, as one of them knows them. */
export interface Keepers {
  /** What rows call this one; undefined: it leads. */
  readonly self: MemberId | undefined;
  /** Who is to keep a new sandbox; undefined: this one. */
  choose(): MemberId | undefined;
  /** Whether a server lives, or may. */
  lives(member: MemberId): boolean;
  /** A server in its absence; undefined: the one that leads. */
  keeper(member: MemberId | undefined): Keeper;
}

/** What another server does with a sandbox that it keeps. Each call goes on trying for as long as that server may live. @throws SkerryError `unavailable`, once it does not */
export interface Keeper {
  /** Begins with one whose row says that it keeps it, once. @throws what it refuses that for */
  begin(id: SandboxId): Promise<void>;
  /** @see Sandbox.terminate */
  terminate(id: SandboxId): Promise<void>;
  /** @see Sandbox.wait */
  wait(id: SandboxId, timeoutMs: number, signal: AbortSignal): Promise<SandboxResult | undefined>;
  /** @see OutputReader.read, of the entrypoint's */
  read(
    id: SandboxId,
    stream: 'stdout' | 'stderr',
    offset: number,
    signal: AbortSignal,
  ): AsyncIterable<Uint8Array>;
  /** @see Sandbox.usage */
  usage(id: SandboxId, signal: AbortSignal): Promise<Usage | undefined>;
  /** @see Sandbox.connect */
  connect(id: SandboxId, port: number, signal: AbortSignal): Promise<Duplex>;
}

/** Whether any server may keep it: it has nothing that only the one that leads has. */
export function isAnyServers(spec: SandboxSpec): boolean {
  const { volumes, buckets = [], mountIds, sidecarOf, secretHeaders, network, externalKey } = spec;
  const { memorySnapshots, from, warmUp, exitSnapshot, openPorts = [] } = spec;
  const ofLeader = volumes.length + buckets.length + mountIds.length + openPorts.length > 0;
  const goesOn = memorySnapshots || from || warmUp || exitSnapshot;
  return (
    !ofLeader && !goesOn && !sidecarOf && !secretHeaders && !network.headers && externalKey === undefined
  );
}

/** Whether a server keeps a sandbox, or is to: that of one that is gone is the leader's. */
export function isKeptBy(keepers: Pick<Keepers, 'self' | 'lives'>, { memberId }: SandboxRow): boolean {
  if (keepers.self !== undefined) return memberId === keepers.self;
  return memberId === undefined || !keepers.lives(memberId);
}
