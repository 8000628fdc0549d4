/** Files of a Pod as layers: decision 0059. */
import type { MachineRoom } from '../../platform/machine-room.ts';
import { withinRoom } from '../../platform/room-watch.ts';
import type { ContentPlaces, LayerRef } from '../references.ts';
import { writeWhole } from '../whole-directory.ts';
import type { Dial, PodAgent } from './pod-agent.ts';
import { unable } from './unable.ts';

export interface PodFilesOptions {
  readonly agent: PodAgent;
  readonly content: Pick<ContentPlaces, 'layer' | 'newLayer'>;
  /** What lies below the layers of every image. */
  readonly skeletonDir: string;
  /** What the copies are written on. */
  readonly room: MachineRoom;
}

export class PodFiles {
  readonly #options: PodFilesOptions;

  constructor(options: PodFilesOptions) {
    this.#options = options;
  }

  /**
   * Makes what differs from `layers`, lowest first, which it began with, the new layer `to`.
   * @param layers undefined for a Pod of a server that did not write down which they are
   * @throws SkerryError as `PodAgent.takeFiles`; `unimplemented`
   */
  async commit(
    dial: Dial,
    layers: readonly LayerRef[] | undefined,
    to: LayerRef,
    signal: AbortSignal,
  ): Promise<void> {
    const { content, skeletonDir } = this.#options;
    if (!layers) throw unable('have its files become an image when a server of an older version made it');
    const places = [skeletonDir, ...layers.map((layer) => content.layer(layer))];
    await this.#take(dial, '/', places, to, signal);
  }

  /** Makes a directory the new layer `to`. @throws SkerryError as `PodAgent.takeFiles` */
  commitDirectory(dial: Dial, path: string, to: LayerRef, signal: AbortSignal): Promise<void> {
    return this.#take(dial, path, [], to, signal);
  }

  #take(dial: Dial, path: string, layers: readonly string[], to: LayerRef, signal: AbortSignal) {
    const { agent, content, room } = this.#options;
    return withinRoom({ room, signal }, (signal) =>
      writeWhole(content.newLayer(to), (target) => agent.takeFiles(dial, { path, layers, target }, signal)),
    );
  }
}
