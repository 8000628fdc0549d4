/** What the engine asks the agent of a Pod. An engine of this machine looks for itself; nobody sees into a Pod from outside. */
import type { Duplex } from 'node:stream';
import type { InstanceStats } from '../engine.ts';

/** Gives connections to the agent (`Instance.dial`). */
export type Dial = (signal: AbortSignal) => Promise<Duplex>;

export interface TakeFiles {
  /** A directory of the sandbox, absolute. */
  readonly path: string;
  /** Directories of the layers that it began with, lowest first: what is as it is there is left out. None where everything is to be had. */
  readonly layers: readonly string[];
  /** A directory that is there and empty. */
  readonly target: string;
}

/** A directory of this machine and one of the sandbox that are to be alike. */
export interface MirroredTree {
  /** Of this machine, which nobody else changes meanwhile. */
  readonly directory: string;
  /** The file in which it is remembered what both had; it need not be there. */
  readonly state: string;
  /** Of the sandbox, absolute. */
  readonly path: string;
  /** Where directories of it are seen by programs as well. */
  readonly seen: readonly { readonly target: string; readonly below: string }[];
}

export interface PodAgent {
  /** What the sandbox takes of its machine. */
  stats(dial: Dial, signal: AbortSignal): Promise<InstanceStats>;
  /** What the sandbox's container was started with. @throws SkerryError `unimplemented` for an agent of an older version */
  environment(dial: Dial, signal: AbortSignal): Promise<Readonly<Record<string, string>>>;
  /** Has programs ask there for names, and nobody else. @throws SkerryError `unimplemented` for an agent of an older version */
  setNameserver(dial: Dial, address: string, signal: AbortSignal): Promise<void>;
  /** Kills every process but the agent. */
  killAll(dial: Dial, signal: AbortSignal): Promise<void>;
  /**
   * Writes files of the sandbox as a layer, as they are at one moment, at which its programs stand still. When it resolves they are on disk.
   * @throws SkerryError `invalid-argument` and `not-found` for the path, `disk-full`, `unimplemented` for an agent of an older version; the signal's reason
   */
  takeFiles(dial: Dial, files: TakeFiles, signal: AbortSignal): Promise<void>;
  /** Brings what the sandbox changed here. @throws SkerryError as `MountCopies.collect` */
  collect(dial: Dial, tree: MirroredTree, signal: AbortSignal): Promise<void>;
  /** Brings what changed here to the sandbox. @throws SkerryError as `MountCopies.deliver` */
  deliver(dial: Dial, tree: MirroredTree, signal: AbortSignal): Promise<void>;
}
