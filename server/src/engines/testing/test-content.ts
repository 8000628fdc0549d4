/** Layers and mounts of tests: each is in one directory under the name it is referred to by. */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { isMemorySnapshotId } from '../../ids.ts';
import type { CheckpointRef, ContentPlaces, LayerRef, MountRef } from '../references.ts';

export class TestContent implements ContentPlaces {
  readonly #directory: string;

  constructor(directory: string) {
    this.#directory = directory;
  }

  /** A name as a reference to a layer. */
  static ref(name: string): LayerRef {
    return name as LayerRef; // to this content any name is one
  }

  layer(ref: LayerRef): string {
    return join(this.#directory, ref);
  }

  newLayer(ref: LayerRef): string {
    return this.layer(ref);
  }

  checkpoint(ref: CheckpointRef): string {
    return join(this.#directory, ref);
  }

  async checkpoints(): Promise<readonly CheckpointRef[]> {
    return (await readdir(this.#directory)).filter(isMemorySnapshotId);
  }

  mount(ref: MountRef): string {
    return join(this.#directory, ...(ref.kind === 'volume' ? [ref.tree] : []), ref.path);
  }
}
