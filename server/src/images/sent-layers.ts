/** How layers are called in a registry that they were sent to: one is packed once, however many images have it. */
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
  readonly #sent: Map<string, PackedLayer>;
  readonly #writes = new Limiter(1);
  #written = '';

  /** @param file where they are written down; what cannot be read of it is as if it were not there */
  constructor(file: string) {
    this.#file = file;
    this.#sent = new Map(Object.entries(read(file)));
  }

  of(directory: string): PackedLayer | undefined {
    return this.#sent.get(directory);
  }

  /** @param layers by their directories. Those whose directory is named by a layer's id never change; others are not kept */
  async add(layers: ReadonlyMap<string, PackedLayer>): Promise<void> {
    for (const [directory, layer] of layers)
      if (isLayerId(basename(directory))) this.#sent.set(directory, layer);
    await this.#writes.run(() => this.#write());
  }

  async #write(): Promise<void> {
    for (const directory of this.#sent.keys()) if (!existsSync(directory)) this.#sent.delete(directory);
    const text = JSON.stringify(Object.fromEntries(this.#sent));
    if (text === this.#written) return;
    await replaceFile(this.#file, text);
    this.#written = text;
  }
}

function read(file: string): Readonly<Record<string, PackedLayer>> {
  try {
    return sentSchema.parse(JSON.parse(readFileSync(file, 'utf8')));
  } catch {
    return {}; // they are packed again
  }
}
