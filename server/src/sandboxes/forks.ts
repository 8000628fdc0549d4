/**
 * Copies of a running sandbox that go on beside it: all that were asked for, or none. They begin from a checkpoint that is there for them alone, and goes in the moment they all run; a
 * server that finds it knows that they never did, and ends those that there are.
 */
import { SkerryError, toSkerryError } from '../errors/skerry-error.ts';
import type { FaultPoint } from '../platform/fault-points.ts';
import type { LiveSandbox } from './live-sandbox.ts';
import type { MemorySnapshotRow, MemorySnapshots } from './memory-snapshots.ts';
import type { CreateOptions, ForkCopy, Sandbox } from './sandboxes.ts';
import type { SandboxSpec } from './spec.ts';

export interface ForksParts {
  readonly snapshots: Pick<MemorySnapshots, 'letGo' | 'unfinishedForks' | 'forgetFork'>;
  /** Begins the life of a sandbox that goes on from there. */
  readonly admit: (
    spec: SandboxSpec,
    from: MemorySnapshotRow,
    options: Pick<CreateOptions, 'tokenId'>,
  ) => Copy;
  readonly faultPoint: FaultPoint;
}

/** A copy, as far as its fork is concerned. */
export type Copy = Pick<LiveSandbox, 'state' | 'waitUntilRunning' | 'terminate'> & Sandbox;

export class Forks {
  readonly #parts: ForksParts;

  constructor(parts: ForksParts) {
    this.#parts = parts;
  }

  /** @see Sandboxes.fork */
  async make(
    original: Pick<LiveSandbox, 'snapshotForFork'>,
    copies: readonly ForkCopy[],
    signal: AbortSignal,
  ): Promise<readonly Sandbox[]> {
    const { snapshots, admit, faultPoint } = this.#parts;
    const from = await original.snapshotForFork(signal);
    const made: Copy[] = [];
    try {
      for (const { name, externalKey, tags = from.spec.tags, tokenId } of copies) {
        made.push(admit({ ...from.spec, from: from.id, name, externalKey, tags }, from, { tokenId }));
      }
      await Promise.all(
        made.map((copy, index) => running(copy, `copy ${index + 1} of ${copies.length}`, signal)),
      );
      faultPoint('fork.running');
      snapshots.letGo(from);
      faultPoint('fork.done');
      return made;
    } catch (error) {
      await Promise.all(made.map((copy) => copy.terminate()));
      // A server that shuts down ends nothing: the next one does, which knows by the checkpoint that it has to.
      if (made.every(isOver)) snapshots.letGo(from);
      throw error;
    }
  }

  /** After a start of the server, once all sandboxes are known: ends the copies that never came to run all. */
  endUnfinished(
    live: Iterable<Pick<LiveSandbox, 'spec' | 'terminate'>>,
    afterwards: (step: () => void) => void,
  ): void {
    const { snapshots } = this.#parts;
    const unfinished = snapshots.unfinishedForks;
    if (unfinished.size === 0) return;
    for (const sandbox of live) {
      if (sandbox.spec.from !== undefined && unfinished.has(sandbox.spec.from)) void sandbox.terminate();
    }
    for (const id of unfinished) afterwards(() => snapshots.forgetFork(id));
  }
}

const isOver = ({ state }: Pick<Copy, 'state'>): boolean => state === 'stopping' || state === 'ended';

/** @throws SkerryError `unavailable`, saying which did not start and why; the signal's reason */
async function running(copy: Copy, which: string, signal: AbortSignal): Promise<void> {
  try {
    await copy.waitUntilRunning(signal);
  } catch (error) {
    signal.throwIfAborted();
    const why = toSkerryError(error).message;
    throw new SkerryError('unavailable', `The sandbox was not forked, since ${which} did not start. ${why}`, {
      cause: error,
    });
  }
}
