/** Directories that hold an image: https://github.com/opencontainers/image-spec/blob/main/image-layout.md */
import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { SkerryError } from '../../errors/skerry-error.ts';
import { clip } from '../../platform/text.ts';
import { type ForeignConfig, MAX_JSON_BYTES, MAX_LAYERS, notAnImage, parseConfig } from './image-config.ts';

/** An image of somebody else's in files: layers, compressed or not, lowest first. */
export interface ForeignImage extends ForeignConfig {
  /** `digest` of the file as it is. */
  readonly layers: readonly { readonly digest: string; readonly file: string }[];
}

export const descriptorSchema = z.object({
  digest: z.string().regex(/^sha256:[0-9a-f]{64}$/),
  mediaType: z.string().optional(),
  /** Where else than beside the manifest it may be fetched from. */
  urls: z.array(z.string()).nullish(),
});
export const manifestSchema = z.object({
  config: descriptorSchema,
  layers: z.array(descriptorSchema).max(MAX_LAYERS),
});
const indexSchema = z.object({ manifests: z.array(descriptorSchema).length(1) });

/** Reads a directory with one image whose files were checked against their digests when they were written; what they hold is as hostile as anything from a registry. */
export async function readLayout(directory: string): Promise<ForeignImage> {
  const blob = (digest: string) => join(directory, 'blobs', 'sha256', digest.slice('sha256:'.length));
  const index = await readJson(join(directory, 'index.json'), indexSchema);
  const manifest = await readJson(blob(index.manifests[0]?.digest ?? ''), manifestSchema);
  refuseForeign(manifest.layers);
  const config = parseConfig(await readJson(blob(manifest.config.digest), z.unknown()));
  return { ...config, layers: manifest.layers.map(({ digest }) => ({ digest, file: blob(digest) })) };
}

/**
 * Layers that their publisher keeps to himself, at addresses which the manifest names: nothing is fetched from there.
 * @throws SkerryError `image-build-failed` when one of these is such
 */
export function refuseForeign(layers: readonly z.infer<typeof descriptorSchema>[]): void {
  const at = layers.findIndex(
    ({ mediaType = '', urls }) => /\.(foreign|nondistributable)\./.test(mediaType) || (urls ?? []).length > 0,
  );
  const layer = layers[at];
  if (!layer) return;
  const where = layer.urls?.[0] === undefined ? '' : `, and is to be fetched from ${clip(layer.urls[0])}`;
  throw new SkerryError(
    'image-build-failed',
    `layer ${at + 1} of the image is a foreign one (${clip(layer.mediaType ?? 'with addresses')})${where}: such layers are not fetched. Build the image on a base without them.`,
  );
}

/** @throws SkerryError `image-build-failed` for a file that is too long or holds something else */
export async function readJson<T>(file: string, schema: z.ZodType<T>): Promise<T> {
  const { size } = await stat(file);
  if (size > MAX_JSON_BYTES) throw notAnImage('it has a manifest or configuration beyond 4 MiB');
  let value: unknown;
  try {
    value = JSON.parse(await readFile(file, 'utf8'));
  } catch {
    throw notAnImage('a manifest or configuration is no JSON');
  }
  const parsed = schema.safeParse(value);
  if (!parsed.success) throw notAnImage(z.prettifyError(parsed.error));
  return parsed.data;
}
