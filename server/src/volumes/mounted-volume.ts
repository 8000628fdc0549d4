/** A volume in one sandbox: between its working tree and the volume's versions. One thing at a time, which `volume-mounts.ts` sees to. */
import { SkerryError } from '../errors/skerry-error.ts';
import type { FaultPoint } from '../platform/fault-points.ts';
import type { TakenRoom } from '../platform/machine-room.ts';
import type { Changes } from './changes.ts';
import { type Difference, differences } from './differences.ts';
import { LayerTree } from './layer-tree.ts';
import type { VolumeMountRepository, VolumeMountRow } from './repositories.ts';
import { keyOf, UNSETTLED } from './tree-state.ts';
import type { LayeredVolumeFiles } from './volume-files.ts';
import { type TreePlaces, WorkingTree } from './working-tree.ts';

export interface MountedVolumeParts {
  readonly files: LayeredVolumeFiles;
  readonly rows: VolumeMountRepository;
  readonly places: TreePlaces;
  /** The program of `trees/`. */
  readonly treesBinary: string;
  readonly faultPoint: FaultPoint;
}

export interface CommitHow {
  /** Nobody changes the files any more. */
  readonly still: boolean;
  /** Whether to have what is written to just now, or to leave it to a later commit. */
  readonly busy: 'take' | 'leave';
}

/** A file is written to for so long after it was: programs that write many files, or one again and again, are not held up in the background. */
const QUIET_MS = 5_000;

export class MountedVolume {
  readonly tree: WorkingTree;
  readonly #parts: MountedVolumeParts;
  readonly #row: VolumeMountRow;

  constructor(parts: MountedVolumeParts, row: VolumeMountRow) {
    this.#parts = parts;
    this.#row = row;
    const { firstId } = row;
    const ids = firstId === undefined ? undefined : { firstId, treesBinary: parts.treesBinary };
    this.tree = new WorkingTree(parts.places, parts.files.roots(row.base), ids);
  }

  /** Makes a version of what the sandbox wrote, and finishes a reload that was broken off. @throws SkerryError `volume-full`, `disk-full` */
  async commit({ still, busy }: CommitHow): Promise<void> {
    const { writable, reloading } = this.#row;
    if (!this.#newest()) return;
    if (writable) await this.#commitWritten(still, busy);
    else if (reloading) await this.#changes(); // takes away what is not whole
    if (reloading && !still) await this.#bringTo(reloading);
  }

  /** Shows the newest version. What the sandbox wrote must be in it. @throws SkerryError `disk-full`, and then it shows what it did */
  async reload(): Promise<void> {
    const layers = this.#newest();
    if (!layers) return;
    const others = await this.#othersUpTo(layers);
    using _room = await this.#roomFor(others);
    this.#parts.rows.setReloading(this.#row.id, layers);
    await this.#bringTo(layers, others);
  }

  async #commitWritten(still: boolean, busy: CommitHow['busy']): Promise<void> {
    const { files, places, faultPoint } = this.#parts;
    const { volumeId, shown: layers } = this.#row;
    const found = await this.#changes();
    const changes = busy === 'take' ? found : withoutBusy(found);
    if (changes.removed.length + changes.written.length > 0) {
      const shown = new LayerTree(files.roots(layers));
      const takesFiles = still && places.written === places.directory;
      using _room = await files.takeVersionRoom(takesFiles ? 0 : sizeOf(changes));
      faultPoint('volume.commit.before-version');
      await files.change(
        volumeId,
        async () => (writer) => this.tree.write(changes, { shown, still }, writer),
      );
      faultPoint('volume.commit.after-version');
    }
    if (!still) await this.tree.keep(changes.next);
  }

  #changes(): Promise<Changes> {
    const { reloading } = this.#row;
    return this.tree.changes(reloading && new LayerTree(this.#parts.files.roots(reloading)));
  }

  async #bringTo(layers: VolumeMountRow['base'], others?: readonly Difference[]): Promise<void> {
    const { rows, faultPoint } = this.#parts;
    faultPoint('volume.reload.before-changes');
    await this.tree.reload(others ?? (await this.#othersUpTo(layers)));
    faultPoint('volume.reload.before-row');
    rows.setShown(this.#row.id, layers);
  }

  #othersUpTo(layers: VolumeMountRow['base']): Promise<readonly Difference[]> {
    return differences(this.#row.shown, layers, (ids) => this.#parts.files.roots(ids));
  }

  /** What a reload takes where no disk of the tree's own bounds it, as that of a read-only mount. */
  #roomFor(others: readonly Difference[]): Promise<TakenRoom> {
    const { files, places } = this.#parts;
    const bounded = places.written !== places.directory;
    const sizes = others.map(({ node }) => (node?.kind === 'file' ? node.stats.size : 0));
    return files.takeRoom(bounded ? 0 : sizes.reduce((sum, size) => sum + size, 0));
  }

  /** The layers of the newest version; undefined for a volume that was deleted while it is mounted. */
  #newest(): VolumeMountRow['base'] | undefined {
    try {
      return this.#parts.files.version(this.#row.volumeId).layers;
    } catch (error) {
      if (error instanceof SkerryError && error.code === 'not-found') return undefined;
      throw error;
    }
  }
}

/** Without the files that somebody writes to just now; a later look finds them again. */
function withoutBusy({ removed, written, next }: Changes): Changes {
  const quietSince = BigInt(Date.now() - QUIET_MS) * 1_000_000n;
  const isBusy = ({ entry }: Changes['written'][number]) =>
    entry.kind === 'file' && BigInt(entry.ctimeNs) > quietSince;
  const kept = new Map(next);
  for (const { path } of written.filter(isBusy)) kept.set(keyOf(path), UNSETTLED);
  return { removed, written: written.filter((one) => !isBusy(one)), next: kept };
}

const sizeOf = ({ written }: Changes): number =>
  written.reduce((sum, { entry }) => sum + (entry.kind === 'file' ? Number(entry.size) : 0), 0);
