/**
 * A volume as one sandbox sees and changes it: an overlay of the version it began with under a writable layer of its own. What the sandbox writes becomes a
 * version by `commit`; what others made versions of comes in by `reload`, as plain changes of files, so that a program that is running sees it under every
 * runtime. Everything is named beneath descriptors: the sandbox may change the tree at any moment.
 */
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { SkerryError } from '../errors/skerry-error.ts';
import { Beneath } from '../platform/beneath.ts';
import { raw, toBytes } from '../platform/byte-paths.ts';
import { unmount } from '../platform/mounts.ts';
import { mountOverlay, mountShiftedOverlay, type ShiftedIds } from '../platform/overlayfs.ts';
import { syncFilesystem } from '../platform/sync-filesystem.ts';
import { delay } from '../platform/wait.ts';
import { type Changes, findChanges, type Written } from './changes.ts';
import { type Commit, commitChanges } from './commit-changes.ts';
import type { Difference } from './differences.ts';
import { LayerTree } from './layer-tree.ts';
import type { LayerWriter } from './layer-writer.ts';
import { showVolumePath, type VolumePath } from './paths.ts';
import { Reload, withoutReloaded } from './reload.ts';
import { readTreeState, type TreeState, writeTreeState } from './tree-state.ts';

export interface TreePlaces {
  /** On disk: what is remembered of it. */
  readonly directory: string;
  /** Likewise: what the sandbox wrote. The same, or on a file system of its own that bounds it. */
  readonly written: string;
  /** Where it is seen. */
  readonly target: string;
}

/** Inode times are those of the last clock tick, at most so long ago: what is written within the one may have the same. */
const TICK_MS = 20;

export class WorkingTree {
  readonly #places: TreePlaces;
  readonly #base: LayerTree;
  readonly #roots: readonly string[];
  readonly #ids: ShiftedIds | undefined;

  /**
   * @param roots directories of the layers it is over, byte strings, the lowest first
   * @param ids those that the sandbox sees it with; undefined: the machine's
   */
  constructor(places: TreePlaces, roots: readonly string[], ids?: ShiftedIds) {
    this.#places = places;
    this.#roots = roots;
    this.#ids = ids;
    this.#base = new LayerTree(roots);
  }

  async mount(): Promise<void> {
    const { target, written } = this.#places;
    const writable = { upper: join(written, 'upper'), work: join(written, 'work') };
    for (const path of [writable.upper, writable.work, this.#at('empty')])
      await mkdir(path, { recursive: true, mode: 0o755 });
    await mkdir(target, { recursive: true, mode: 0o700 });
    await this.#likeBase();
    const layers = [this.#at('empty'), ...this.#roots.map((root) => raw(root).toString())];
    if (this.#ids) return mountShiftedOverlay({ layers, target, options: [] }, written, this.#ids);
    const linksDir = this.#at('links');
    await rm(linksDir, { recursive: true, force: true });
    await mountOverlay({ layers, writable, target, linksDir, options: [] });
  }

  /** Before the sandbox can change anything in it. @throws SkerryError `invalid-argument` where something else is in the way */
  async makeDirectories(path: VolumePath): Promise<void> {
    await using opened = new AsyncDisposableStack();
    let directory = opened.use(await this.#shown());
    for (const name of path) {
      if (!(await directory.lookup(name))) await mkdir(directory.path(name), { mode: 0o755 });
      const inner = await directory.directory(name);
      if (!inner)
        throw new SkerryError('invalid-argument', `'${showVolumePath(path)}' is no directory of the volume.`);
      directory = opened.use(inner);
      await this.#giveAway(directory);
    }
  }

  /** What the server made belongs to root in the sandbox, also where an earlier server was killed before it did this. */
  async #giveAway(directory: Beneath): Promise<void> {
    const { uid, mode } = await directory.stats();
    if (!this.#ids || uid !== 0n) return;
    const { firstId } = this.#ids;
    await directory.own(firstId, firstId, Number(mode) & 0o7777);
  }

  /** Takes it away from where it is seen; what was written stays. Idempotent. */
  async unmount(): Promise<void> {
    await unmount([this.#places.target]);
    await rm(this.#places.target, { recursive: true, force: true });
  }

  /** Removes what was written. */
  async remove(): Promise<void> {
    await rm(this.#places.directory, { recursive: true, force: true });
  }

  /**
   * What changed since the last commit. What of it was in memory only is on the disk then: so it survives the machine, and the file system tells of later writes
   * through memory maps, as it does only for pages that were written back.
   * @param reloading what a reload that was broken off was to show
   */
  async changes(reloading?: LayerTree): Promise<Changes> {
    const state = await this.#state();
    await using shown = await this.#shown();
    const found = await findChanges({ upper: this.#upper, shown, base: this.#base, state });
    const changes = reloading ? await withoutReloaded(found, shown, reloading) : found;
    if (changes.written.length + changes.removed.length > 0) {
      await syncFilesystem(join(this.#places.written, 'upper'));
      if (changes.written.some(isFresh)) await delay(TICK_MS);
    }
    return changes;
  }

  /** @see commitChanges */
  async write(
    changes: Changes,
    options: Pick<Commit, 'shown' | 'still'>,
    writer: LayerWriter,
  ): Promise<void> {
    await using upper = await Beneath.open(this.#upper);
    await commitChanges({ ...options, changes, upper, state: await this.#state() }, writer);
  }

  /** Remembers what is in a version now. */
  async keep(state: TreeState): Promise<void> {
    await writeTreeState(this.#at('state.json'), state);
  }

  /** Makes the tree show what became different between two versions; what the sandbox wrote since the last commit stays. */
  async reload(differences: readonly Difference[]): Promise<void> {
    const state = await this.#state();
    await using upper = await Beneath.open(this.#upper);
    await using shown = await this.#shown();
    try {
      await new Reload({ shown, upper, state, firstId: this.#ids?.firstId }).apply(differences);
    } finally {
      await this.keep(state);
    }
  }

  /** The writable layer's root is what the overlay shows of the root. */
  async #likeBase(): Promise<void> {
    const root = await this.#base.lookup([]);
    if (!root) return;
    await using upper = await Beneath.open(this.#upper);
    await upper.own(root.stats.uid, root.stats.gid, root.stats.mode & 0o7777);
  }

  get #upper(): string {
    return toBytes(join(this.#places.written, 'upper'));
  }

  #shown(): Promise<Beneath> {
    return Beneath.open(toBytes(this.#places.target));
  }

  #state(): Promise<TreeState> {
    return readTreeState(this.#at('state.json'));
  }

  #at(name: string): string {
    return join(this.#places.directory, name);
  }
}

/** It may be written to in the clock tick of its time. */
const isFresh = ({ entry }: Written): boolean => {
  const age = Date.now() - Number(BigInt(entry.ctimeNs) / 1_000_000n);
  return age >= -TICK_MS && age <= TICK_MS;
};
