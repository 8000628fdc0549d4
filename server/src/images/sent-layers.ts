/**
 * How layers are called in a registry that they were sent to: one is packed once, however many images have it. Several servers may have the file: each brings what the others wrote together with
 * what it knows and replaces the whole. What one writes between another's look and its writing is not there until that one writes again; if it never does, the layer is packed and sent once more.
 */
import { existsSync, readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { z } from 'zod';
import { isLayerId } from '../ids.ts';
import { Limiter } from '../platform/limiter.ts';
import { replaceFile } from '../platform/replace-file.ts';
import type { PackedLayer } from './oci/write-archive.ts';

const digest = z.string().regex(/^sha256:[0-9a-f]{64}$/);
const sentSchema = z.record(
  z.string(),
  z.object({ mediaType: z.string(), digest, size: z.number().int().min(0), diffId: digest }),
);

export class SentLayers {
  readonly #file: string;
  readonly #partial: string;
  readonly #sent = new Map<string, PackedLayer>();
  readonly #writes = new Limiter(1);

  /**
   * @param file where they are written down; what cannot be read of it is as if it were not there
   * @param partial where the file is written before it is replaced: nobody else's, on the same file system
   */
  constructor(file: string, partial: string) {
    this.#file = file;
    this.#partial = partial;
  }

  /** Finds out what others sent since. @returns the text that it is in */
  look(): string {
    const { text, layers } = read(this.#file);
    for (const [directory, layer] of Object.entries(layers)) this.#sent.set(directory, layer);
    return text;
  }

  of(directory: string): PackedLayer | undefined {
    return this.#sent.get(directory);
  }

  /** @param layers by their directories. Those whose directory is named by a layer's id never change; others are not kept */
  async add(layers: ReadonlyMap<string, PackedLayer>): Promise<void> {
    await this.#writes.run(async () => {
      const written = this.look();
      for (const [directory, layer] of layers)
        if (isLayerId(basename(directory))) this.#sent.set(directory, layer);
      for (const directory of this.#sent.keys()) if (!existsSync(directory)) this.#sent.delete(directory);
      const text = JSON.stringify(Object.fromEntries(this.#sent));
      if (text !== written) await replaceFile(this.#file, text, { partial: this.#partial });
    });
  }
}

function read(file: string): {
  readonly text: string;
  readonly layers: Readonly<Record<string, PackedLayer>>;
} {
  try {
    const text = readFileSync(file, 'utf8');
    return { text, layers: sentSchema.parse(JSON.parse(text)) };
  } catch {
    return { text: '', layers: {} }; // they are packed again
  }
}
