/** Volumes of a Pod: each is a directory of its node, which is filled before anybody has the sandbox, and kept like the working tree of this machine (decision 0063). */
import { mkdir, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { SkerryError } from '../../errors/skerry-error.ts';
import type { InstanceId, VolumeMountId } from '../../ids.ts';
import type { MachineRoom } from '../../platform/machine-room.ts';
import { withinRoom } from '../../platform/room-watch.ts';
import type { InstanceMount, MountCopies } from '../engine.ts';
import type { ContentPlaces } from '../references.ts';
import type { Dial, MirroredTree, PodAgent } from './pod-agent.ts';
import { type PodVolume, volumePath } from './pod-spec.ts';
import { unable } from './unable.ts';

export interface PodVolumesOptions {
  /** For what is remembered of them. */
  readonly directory: string;
  readonly agent: PodAgent;
  readonly content: Pick<ContentPlaces, 'mount'>;
  /** What the working trees are written on. */
  readonly room: MachineRoom;
}

export class PodVolumes {
  readonly #options: PodVolumesOptions;

  constructor(options: PodVolumesOptions) {
    this.#options = options;
  }

  /** @returns what `MountCopies` is of one instance */
  copies(id: InstanceId, volumes: readonly PodVolume[], dial: Dial): MountCopies {
    const { agent, room } = this.#options;
    return {
      collect: (tree, signal) =>
        withinRoom({ room, signal }, async (either) =>
          agent.collect(dial, await this.#tree(id, volumes, tree), either),
        ),
      deliver: async (tree, signal) => agent.deliver(dial, await this.#tree(id, volumes, tree), signal),
    };
  }

  /** Has each hold what its working tree does. */
  async fill(id: InstanceId, volumes: readonly PodVolume[], dial: Dial, signal: AbortSignal): Promise<void> {
    const copies = this.copies(id, volumes, dial);
    for (const { tree } of volumes) await copies.deliver(tree, signal);
  }

  /** Its Pod is gone. Idempotent. */
  async forget(id: InstanceId): Promise<void> {
    await rm(this.#place(id), { recursive: true, force: true });
  }

  /** Of which instances something is remembered, whether they are there or not. */
  async remembered(): Promise<readonly InstanceId[]> {
    return (await readdir(this.#options.directory).catch(() => [])) as InstanceId[]; // made here only
  }

  async #tree(id: InstanceId, volumes: readonly PodVolume[], tree: VolumeMountId): Promise<MirroredTree> {
    const index = volumes.findIndex((volume) => volume.tree === tree);
    const volume = volumes[index];
    if (!volume) throw new SkerryError('internal', `${id} has no volume ${tree}.`);
    await mkdir(this.#place(id), { recursive: true, mode: 0o700 });
    return {
      directory: this.#options.content.mount({ kind: 'volume', tree, path: '' }),
      state: join(this.#place(id), tree),
      path: volumePath(index),
      seen: volume.seen.map(({ target, path }) => ({ target, below: path })),
    };
  }

  #place(id: InstanceId): string {
    return join(this.#options.directory, id);
  }
}

/** What a Pod is made with. @throws SkerryError `unimplemented` for other files, `invalid-argument` for a place that no Pod can have something at */
export function volumesOf(mounts: readonly InstanceMount[]): readonly PodVolume[] {
  const volumes = new Map<VolumeMountId, PodVolume['seen'][number][]>();
  for (const { source, target, readOnly } of mounts) {
    if (source.kind !== 'volume') throw unable('have files of the server mounted');
    if (target.includes(':'))
      throw new SkerryError('invalid-argument', `Nothing can be mounted in a Pod at ${target}, for its ':'.`);
    const seen = volumes.get(source.tree) ?? [];
    seen.push({ target, path: source.path, readOnly });
    volumes.set(source.tree, seen);
  }
  return [...volumes].map(([tree, seen]) => ({ tree, seen }));
}
