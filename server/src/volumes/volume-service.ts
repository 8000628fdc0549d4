/** Volumes by name: what there are. What they hold is `volume-files.ts`. */
import { checkObjectName } from '../apps/names.ts';
import { SkerryError } from '../errors/skerry-error.ts';
import { type EnvironmentId, newVolumeId, type VolumeId } from '../ids.ts';
import { pageSize } from '../platform/paging.ts';
import type { VolumeRepository } from './repositories.ts';
import { noSuchVolume } from './volume-errors.ts';
import type { FileProtocol, VolumeInfo, Volumes } from './volumes.ts';

/** Clients ask every 5 minutes for an ephemeral volume to be kept. */
const UNHEARD_MS = 15 * 60_000;

export class VolumeService implements Volumes {
  readonly #volumes: VolumeRepository;
  readonly #now: () => number;

  /** `now` is in Unix milliseconds. */
  constructor(volumes: VolumeRepository, now: () => number = Date.now) {
    this.#volumes = volumes;
    this.#now = now;
  }

  create(
    environmentId: EnvironmentId,
    name: string,
    protocol: FileProtocol,
    onExisting: 'keep' | 'fail',
  ): VolumeInfo {
    checkObjectName('volume name', name);
    const existing = this.#volumes.byName(environmentId, name);
    if (existing && onExisting === 'keep') return existing;
    if (existing) throw nameTaken(name);
    return this.#volumes.insert({ id: newVolumeId(), environmentId, name, protocol }, this.#now());
  }

  createEphemeral(environmentId: EnvironmentId, protocol: FileProtocol): VolumeInfo {
    const volume = { id: newVolumeId(), environmentId, name: undefined, protocol };
    return this.#volumes.insert(volume, this.#now());
  }

  lookup(environmentId: EnvironmentId, name: string): VolumeInfo {
    const volume = this.#volumes.byName(environmentId, name);
    if (!volume) throw noSuchVolume(name);
    return volume;
  }

  get(id: VolumeId): VolumeInfo {
    const volume = this.#volumes.byId(id);
    if (!volume) throw noSuchVolume(id);
    return volume;
  }

  heartbeat(id: VolumeId): void {
    this.#volumes.heard(this.get(id).id, this.#now());
  }

  rename(id: VolumeId, name: string): void {
    checkObjectName('volume name', name);
    const volume = this.get(id);
    if (volume.name === undefined)
      throw new SkerryError('conflict', 'An ephemeral volume has no name to change.');
    if (volume.name === name) return;
    if (this.#volumes.byName(volume.environmentId, name)) throw nameTaken(name);
    this.#volumes.rename(id, name);
  }

  delete(id: VolumeId): void {
    this.#volumes.delete(this.get(id).id);
  }

  list(environmentId: EnvironmentId, beforeMs: number | undefined, limit: number): readonly VolumeInfo[] {
    return this.#volumes.list(environmentId, beforeMs ?? Number.MAX_SAFE_INTEGER, pageSize(limit));
  }

  /** Removes ephemeral volumes that nobody keeps; called on a timer with the time in Unix milliseconds. */
  sweep(nowMs: number): void {
    for (const id of this.#volumes.unheard(nowMs - UNHEARD_MS)) this.#volumes.delete(id);
  }
}

const nameTaken = (name: string): SkerryError =>
  new SkerryError('already-exists', `Volume '${name}' already exists.`);
