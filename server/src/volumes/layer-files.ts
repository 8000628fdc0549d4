/**
 * The layers of all volumes on disk: `<directory>/layers/<VolumeLayerId>/tree` in the format of `layer-tree.ts`. A layer appears whole, with its bytes on
 * the disk, or not at all, and never changes.
 */
import { randomBytes } from 'node:crypto';
import { mkdirSync, readdirSync, renameSync, statSync, utimesSync } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { newVolumeLayerId, type VolumeLayerId } from '../ids.ts';
import { toBytes } from '../platform/byte-paths.ts';
import { CleanupScope } from '../platform/cleanup.ts';
import { run } from '../platform/command.ts';
import { roomAt } from '../platform/kept-room.ts';
import { once } from '../platform/once.ts';
import { syncFilesystem } from '../platform/sync-filesystem.ts';
import { emptied, removeOutOfSight } from '../platform/unfinished.ts';
import type { Logger } from '../telemetry/logger.ts';
import { LayerWriter } from './layer-writer.ts';

/** How long a layer stays after the last version that had it: downloads under way may still read it. */
const RETIRED_MS = 60 * 60_000;
/** The same where there is hardly any room left: a download that was given a part of a file to read begins with it at once. */
const SHORT_RETIRED_MS = 60_000;
/** Less room than this is hardly any. */
const SHORT_BYTES = 2 ** 30;

export interface NewLayer {
  readonly id: VolumeLayerId;
  readonly growth: LayerWriter['growth'];
  /** Bytes of all its files. */
  readonly bytes: number;
}

export class LayerFiles {
  readonly #layers: string;
  readonly #temporary: string;
  readonly #logger: Logger;
  readonly #now: () => number;
  /** Made once, however many layers are begun before it is there. */
  readonly #whiteout = once(() => this.#makeWhiteout());

  /** Removes what an earlier run left unfinished. `now` is in Unix milliseconds. */
  constructor(directory: string, logger: Logger, now: () => number) {
    this.#layers = join(directory, 'layers');
    this.#temporary = join(directory, 'tmp');
    this.#logger = logger;
    this.#now = now;
    emptied(this.#temporary, (err) => logger.error({ err }, 'volumes.temporary-not-emptied'));
    mkdirSync(this.#layers, { recursive: true, mode: 0o700 });
  }

  /** A layer's tree on the host, a byte string. */
  root(id: VolumeLayerId): string {
    return toBytes(join(this.#layers, id, 'tree'));
  }

  /**
   * Makes a layer over others. Nothing of it is left when `write` fails.
   * @returns undefined when it changes nothing
   */
  async make(
    below: readonly VolumeLayerId[],
    write: (writer: LayerWriter, id: VolumeLayerId) => Promise<void>,
  ): Promise<NewLayer | undefined> {
    const id = newVolumeLayerId();
    const made = join(this.#temporary, id);
    await using scope = new CleanupScope(this.#logger);
    scope.add('unfinished layer', () => rm(made, { recursive: true, force: true }));
    await mkdir(made, { mode: 0o700 });
    const roots = below.map((layer) => this.root(layer));
    const writer = await LayerWriter.create(roots, toBytes(join(made, 'tree')), await this.#whiteout());
    await write(writer, id);
    if (!writer.touched) return undefined;
    // What a version names must be there after a power cut too.
    await syncFilesystem(made);
    this.#stamp(made); // else a collection could take it before a version names it
    renameSync(made, join(this.#layers, id));
    return { id, growth: writer.growth, bytes: writer.put };
  }

  /** Where a file can be made that is to be moved into a layer. Whoever asks removes it; the next run removes what is left. */
  temporaryFile(): string {
    return join(this.#temporary, randomBytes(12).toString('hex'));
  }

  /** Says that no version has it any more. */
  retire(ids: readonly VolumeLayerId[]): void {
    for (const id of ids) this.#stamp(join(this.#layers, id));
  }

  /** Removes layers that no version has. @returns those; what of them could not be removed goes when the server starts next */
  async collect(used: ReadonlySet<VolumeLayerId>, nowMs: number): Promise<readonly VolumeLayerId[]> {
    const short = (await roomAt(this.#layers)) < SHORT_BYTES;
    const retiredMs = short ? SHORT_RETIRED_MS : RETIRED_MS;
    const unused = (readdirSync(this.#layers) as VolumeLayerId[]) // made here only
      .filter((id) => !used.has(id) && statSync(join(this.#layers, id)).mtimeMs < nowMs - retiredMs);
    const hidden = await removeOutOfSight(
      unused.map((id) => join(this.#layers, id)),
      this.#temporary,
      (layer, err) => this.#logger.error({ layer, err }, 'volumes.layer-not-removed'),
    );
    return hidden.map((path) => basename(path) as VolumeLayerId);
  }

  /** From now on it is kept for a while, whoever has it. */
  #stamp(directory: string): void {
    utimesSync(directory, this.#now() / 1000, this.#now() / 1000);
  }

  async #makeWhiteout(): Promise<string> {
    const path = join(this.#temporary, 'whiteout');
    await run(['mknod', path, 'c', '0', '0']);
    return path;
  }
}
