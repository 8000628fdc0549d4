/** The layers: kept under their ids, made in a workspace first, removed when nothing refers to them any more. */
import { mkdirSync, readdirSync, renameSync, statSync } from 'node:fs';
import { mkdir, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { MountRef } from '../engines/references.ts';
import { type LayerId, newLayerId } from '../ids.ts';
import { type Cleanup, CleanupScope } from '../platform/cleanup.ts';
import { run } from '../platform/command.ts';
import type { MachineRoom } from '../platform/machine-room.ts';
import { withinRoom } from '../platform/room-watch.ts';
import { emptied, removeOutOfSight } from '../platform/unfinished.ts';
import type { Logger } from '../telemetry/logger.ts';
import type { NewLayer } from './image.ts';
import type { ImagePlaces } from './image-places.ts';
import type { ImageRepository } from './repositories.ts';

export interface LayerStoreOptions {
  readonly places: ImagePlaces;
  readonly store: ImageRepository;
  readonly logger: Logger;
  readonly now: () => number;
  /** What layers may fill of the disk. */
  readonly room: MachineRoom;
  /** How long other servers may take to refer to a layer that they made: until then collections leave it. 0: there are none. */
  readonly othersMs?: number;
}

export class LayerStore {
  readonly #places: ImagePlaces;
  readonly #othersMs: number;
  readonly #store: ImageRepository;
  readonly #logger: Logger;
  readonly #now: () => number;
  /** What layers may fill of the disk. */
  readonly room: MachineRoom;
  /** Layers of builds under way, which no row refers to yet; how many builds hold each. */
  readonly #pins = new Map<LayerId, number>();

  /** Removes what an earlier run of the server left unfinished. */
  constructor({ places, store, logger, now, room, othersMs = 0 }: LayerStoreOptions) {
    this.room = room;
    this.#places = places;
    this.#othersMs = othersMs;
    this.#store = store;
    this.#logger = logger;
    this.#now = now;
    const { layers, temporary } = this.#places;
    emptied(temporary, (err) => logger.error({ err }, 'images.temporary-not-emptied'));
    mkdirSync(layers, { recursive: true, mode: 0o700 });
  }

  /** Directory for temporary files; emptied when the server starts. */
  get temporary(): string {
    return this.#places.temporary;
  }

  /** Absolute directory of a layer. */
  path(id: LayerId): string {
    return this.#places.layer(id);
  }

  has(id: LayerId): boolean {
    return this.#store.hasLayer(id);
  }

  /** For what is needed only while something is made: what of it cannot be removed is logged, and goes when the server starts next. */
  scope(): CleanupScope {
    return new CleanupScope(this.#logger);
  }

  /** Does what fills a workspace or a layer; a signal ends it before the disk is full. @throws SkerryError `disk-full` */
  within<T>(signal: AbortSignal, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    return withinRoom({ room: this.room, signal }, work);
  }

  /** A new empty directory that `cleanup` removes. */
  workspace(cleanup: Cleanup): Promise<string> {
    return this.#workspace(newLayerId(), cleanup);
  }

  /** How a file or directory of a workspace is named to an engine. */
  refer(path: string): MountRef {
    return this.#places.refer(path);
  }

  async #workspace(name: LayerId, cleanup: Cleanup): Promise<string> {
    const path = this.#places.workspace(name);
    await mkdir(path, { mode: 0o700 });
    cleanup.add('workspace', () => rm(path, { recursive: true, force: true }));
    return path;
  }

  /**
   * Makes a layer: `take` writes the directory it is given, or has it written.
   * The layer is pinned until `unpin`, so that a collection does not take it before something refers to it.
   * @returns null when there is nothing in it
   */
  async add(take: (layer: NewLayer) => Promise<void>): Promise<LayerId | null> {
    await using cleanup = this.scope();
    const id = newLayerId();
    await this.#workspace(id, cleanup);
    const made = this.#places.newLayer(id);
    await take({ ref: id, directory: made });
    if ((await readdir(made)).length === 0) return null;
    const { stdout } = await run(['du', '-s', '-B1', '--', made], { timeoutMs: 10 * 60_000 });
    // Nothing can come between the rename and the row: both are synchronous.
    renameSync(made, this.path(id));
    this.#store.insertLayer(id, Number.parseInt(stdout, 10) || 0, this.#now());
    this.pin(id);
    return id;
  }

  pin(id: LayerId): void {
    this.#pins.set(id, (this.#pins.get(id) ?? 0) + 1);
  }

  unpin(ids: readonly LayerId[]): void {
    for (const id of ids) {
      const left = (this.#pins.get(id) ?? 0) - 1;
      if (left > 0) this.#pins.set(id, left);
      else this.#pins.delete(id);
    }
  }

  isPinned(id: LayerId): boolean {
    return this.#pins.has(id);
  }

  /**
   * Removes the layers and directories that no image, cached step or build refers to.
   * @param leave has whoever still uses some of them, which nobody finds any more, let go of them
   * @returns how many
   */
  async collect(leave: (layers: ReadonlySet<LayerId>) => Promise<void>): Promise<number> {
    const needed = this.#store.referencedLayers();
    const keep = (id: string) => needed.has(id as LayerId) || this.#pins.has(id as LayerId);
    const sinceMs = this.#now() - this.#othersMs;
    const unneeded = this.#store.allLayers(sinceMs).filter((id) => !keep(id));
    for (const id of unneeded) this.#store.deleteLayer(id);
    if (unneeded.length > 0) await leave(new Set(unneeded));
    const known = new Set<string>(this.#store.allLayers());
    const { layers, temporary } = this.#places;
    // One comes here a moment before its row.
    const isNew = (name: string) => this.#othersMs > 0 && statSync(join(layers, name)).ctimeMs > sinceMs;
    const doomed = readdirSync(layers).filter((name) => !known.has(name) && !isNew(name));
    // One that could not be removed is found again by the next collection, or by the next start.
    const hidden = await removeOutOfSight(
      doomed.map((name) => join(layers, name)),
      temporary,
      (layer, err) => this.#logger.error({ layer, err }, 'images.layer-not-removed'),
    );
    if (hidden.length > 0) this.#logger.info({ layers: hidden.length }, 'images.collected');
    return hidden.length;
  }
}
