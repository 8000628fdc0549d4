/**
 * Images of ours in files that others read: a directory by the OCI image layout, and an archive of it that is one of Docker's at the same time, as `docker save` writes
 * them (a `manifest.json` beside the index).
 */
import { createHash } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { mkdir, rename, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGzip } from 'node:zlib';
import { run } from '../../platform/command.ts';
import type { ImageConfig } from '../image.ts';
import { hashedBy } from './hashed.ts';
import { type ForeignStep, formatConfig } from './image-config.ts';
import { layerTar } from './layer-tar.ts';

const MANIFEST = 'application/vnd.oci.image.manifest.v1+json';
const CONFIG = 'application/vnd.oci.image.config.v1+json';
const LAYER = 'application/vnd.oci.image.layer.v1.tar+gzip';
/** Twice as fast as the usual level, for files that are some percent larger. */
const GZIP_LEVEL = 3;
const PACK_TIMEOUT_MS = 30 * 60_000;

export interface WrittenImage {
  /** As others may call it, if they can. */
  readonly names: readonly string[];
  readonly config: ImageConfig;
  readonly createdAtMs: number;
  /** `amd64`, `arm64`: as Go calls it. */
  readonly architecture: string;
  /** Directories of its layers, lowest first. */
  readonly layers: readonly string[];
  readonly history: readonly ForeignStep[] | undefined;
}

interface Blob {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
}

/** A layer as it is in a layout. */
export interface PackedLayer extends Blob {
  /** Of its archive before that was compressed. */
  readonly diffId: string;
}

/**
 * Writes images into an empty directory; layers that they share once.
 * @param packed what is known of a layer that need not be in the layout, since whoever reads that has it already
 * @returns all layers by their directories
 * @throws what `layerTar` throws; `ENOSPC`
 */
export async function writeLayout(
  directory: string,
  images: readonly WrittenImage[],
  signal: AbortSignal,
  packed: (layer: string) => PackedLayer | undefined = () => undefined,
): Promise<ReadonlyMap<string, PackedLayer>> {
  const blobs = join(directory, 'blobs', 'sha256');
  await mkdir(blobs, { recursive: true });
  const layers = new Map<string, PackedLayer>();
  const put = async (mediaType: string, value: object): Promise<Blob> => {
    const data = Buffer.from(JSON.stringify(value));
    const digest = createHash('sha256').update(data).digest('hex');
    await writeFile(join(blobs, digest), data);
    return { mediaType, digest: `sha256:${digest}`, size: data.length };
  };
  const index: object[] = [];
  const docker: object[] = [];
  for (const image of images) {
    for (const layer of image.layers) {
      if (!layers.has(layer)) layers.set(layer, packed(layer) ?? (await writeLayer(layer, blobs, signal)));
    }
    const its = image.layers.map((layer) => layers.get(layer)).filter((each) => each !== undefined);
    const config = await put(CONFIG, formatConfig({ ...image, diffIds: its.map(({ diffId }) => diffId) }));
    const manifest = await put(MANIFEST, {
      schemaVersion: 2,
      mediaType: MANIFEST,
      config,
      layers: its.map(({ mediaType, digest, size }) => ({ mediaType, digest, size })),
    });
    for (const name of image.names.length > 0 ? image.names : [undefined]) {
      const annotations = name !== undefined && {
        annotations: { 'org.opencontainers.image.ref.name': name },
      };
      index.push({ ...manifest, ...annotations });
    }
    const path = ({ digest }: Blob) => `blobs/${digest.replace(':', '/')}`;
    docker.push({ Config: path(config), RepoTags: image.names, Layers: its.map(path) });
  }
  const files = {
    'oci-layout': { imageLayoutVersion: '1.0.0' },
    'index.json': {
      schemaVersion: 2,
      mediaType: 'application/vnd.oci.image.index.v1+json',
      manifests: index,
    },
    'manifest.json': docker,
  };
  for (const [name, value] of Object.entries(files))
    await writeFile(join(directory, name), JSON.stringify(value));
  return layers;
}

async function writeLayer(directory: string, blobs: string, signal: AbortSignal): Promise<PackedLayer> {
  const [plain, packed] = [createHash('sha256'), createHash('sha256')];
  const file = join(blobs, 'layer');
  await pipeline(
    Readable.from(layerTar(directory, signal)),
    hashedBy(plain),
    createGzip({ level: GZIP_LEVEL }),
    hashedBy(packed),
    createWriteStream(file),
    { signal },
  );
  const digest = packed.digest('hex');
  await rename(file, join(blobs, digest));
  const { size } = await stat(join(blobs, digest));
  return {
    mediaType: LAYER,
    digest: `sha256:${digest}`,
    size,
    diffId: `sha256:${plain.digest('hex')}`,
  };
}

/** Puts a layout into one file, equal bytes for equal layouts. */
export async function packLayout(directory: string, file: string, signal: AbortSignal): Promise<void> {
  const same = ['--format=gnu', '--sort=name', '--mtime=@0', '--owner=0', '--group=0', '--numeric-owner'];
  const names = ['oci-layout', 'index.json', 'manifest.json', 'blobs'];
  await run(['tar', '-c', ...same, '--mode=u=rwX,go=rX', '-f', file, '-C', directory, ...names], {
    timeoutMs: PACK_TIMEOUT_MS,
    signal,
  });
}
