/**
 * Reads images out of one file: an archive of an OCI image layout (`skopeo copy ... oci-archive:`, `buildx --output type=oci`), or one of Docker's (`docker save`,
 * `podman save`), compressed or not. The file may be hostile: nothing in it decides where something is written. Each of its files is stored under a number, and only those that an image names are looked at; links may only
 * stand for another file of the archive, since old versions of Docker write a layer that two images share so.
 */
import { createHash } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { join, posix } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { z } from 'zod';
import type { SkerryError } from '../../errors/skerry-error.ts';
import { fromBytes, toBytes } from '../../platform/byte-paths.ts';
import { clip } from '../../platform/text.ts';
import { EditError } from '../layers/edit.ts';
import { archiveKind, entries } from '../layers/read-tar.ts';
import { hashedBy } from './hashed.ts';
import { MAX_LAYERS, notAnImage, parseConfig } from './image-config.ts';
import { descriptorSchema, type ForeignImage, manifestSchema, readJson, refuseForeign } from './layout.ts';

/** A hundred images of a hundred layers. */
const MAX_FILES = 10_000;
const MAX_IMAGES = 1000;
/** An index may name indexes. */
const MAX_DEPTH = 4;

export interface ArchivedImage {
  /** What the archive calls it. */
  readonly names: readonly string[];
  readonly image: ForeignImage;
}

interface StoredFile {
  readonly file: string;
  readonly digest: string;
}

const dockerSchema = z
  .array(
    z.object({
      Config: z.string(),
      RepoTags: z.array(z.string()).nullish(),
      Layers: z.array(z.string()).max(MAX_LAYERS).nullish(),
    }),
  )
  .max(MAX_IMAGES);
const indexSchema = z.object({
  manifests: z
    .array(
      descriptorSchema.extend({
        annotations: z.record(z.string(), z.string()).nullish(),
        platform: z.object({ os: z.string(), architecture: z.string() }).nullish(),
      }),
    )
    .max(MAX_IMAGES),
});
type Descriptor = z.infer<typeof indexSchema>['manifests'][number];

/**
 * @param workspace an empty directory of the caller, where files of the images stay
 * @param maxBytes of all files of the archive together
 * @param architecture whose images are wanted, as Go calls it
 * @throws SkerryError `image-build-failed` for what is no archive of images, or one that cannot be trusted
 */
export async function readArchive(
  file: string,
  workspace: string,
  {
    maxBytes,
    architecture,
    signal,
  }: { readonly maxBytes: number; readonly architecture: string; readonly signal: AbortSignal },
): Promise<readonly ArchivedImage[]> {
  const files = await store(file, workspace, maxBytes, signal);
  const archive = new Archive(files, architecture);
  const images = files.has('manifest.json') ? await archive.docker() : await archive.oci();
  if (images.length === 0) throw notAnImage('the archive holds none');
  return images;
}

async function store(
  archive: string,
  workspace: string,
  maxBytes: number,
  signal: AbortSignal,
): Promise<Map<string, StoredFile>> {
  const files = new Map<string, StoredFile>();
  const links: [name: string, target: string][] = [];
  try {
    let count = 0;
    for await (const [header, body] of entries(toBytes(archive), maxBytes)) {
      if (++count > MAX_FILES) throw notAnImage(`the archive has more than ${MAX_FILES} entries`);
      const name = inside(fromBytes(header.name));
      switch (header.type) {
        case 'directory':
          break;
        case 'file':
        case 'contiguous-file': {
          const hash = createHash('sha256');
          const stored = join(workspace, `file-${count}`);
          await pipeline(body, hashedBy(hash), createWriteStream(stored, { mode: 0o600, flags: 'wx' }), {
            signal,
          });
          files.set(name, { file: stored, digest: `sha256:${hash.digest('hex')}` });
          break;
        }
        case 'symlink':
        case 'link': {
          const target = fromBytes(header.linkname ?? '');
          const from = header.type === 'link' ? '.' : posix.dirname(name);
          links.push([name, inside(target.startsWith('/') ? target : posix.join(from, target), target)]);
          break;
        }
        default:
          throw notAnImage(
            `the archive has ${JSON.stringify(clip(name))}, which is neither file nor directory`,
          );
      }
    }
  } catch (error) {
    if (error instanceof EditError) throw notAnImage(error.message);
    throw error;
  }
  for (const [name, target] of links) {
    const found = files.get(target);
    if (!found)
      throw notAnImage(`the archive links to ${JSON.stringify(clip(target))}, which it does not have`);
    files.set(name, found);
  }
  return files;
}

/** A name without `.` and doubled slashes. @throws SkerryError when it leads outside */
function inside(name: string, said = name): string {
  const plain = posix.normalize(name).replace(/\/$/, '');
  if (plain.startsWith('/') || plain === '..' || plain.startsWith('../') || plain.includes('\0'))
    throw notAnImage(`the archive has a file outside of it: ${JSON.stringify(clip(said))}`);
  return plain;
}

class Archive {
  readonly #files: ReadonlyMap<string, StoredFile>;
  readonly #architecture: string;

  constructor(files: ReadonlyMap<string, StoredFile>, architecture: string) {
    this.#files = files;
    this.#architecture = architecture;
  }

  /** https://github.com/moby/docker-image-spec */
  async docker(): Promise<ArchivedImage[]> {
    const images: ArchivedImage[] = [];
    for (const { Config, RepoTags, Layers } of await readJson(
      this.#file('manifest.json').file,
      dockerSchema,
    )) {
      const config = parseConfig(await readJson(this.#file(Config).file, z.unknown()));
      const layers = (Layers ?? []).map((name) => this.#file(name));
      images.push({ names: RepoTags ?? [], image: this.#checked({ ...config, layers }) });
    }
    return images;
  }

  async oci(): Promise<ArchivedImage[]> {
    const images = new Map<string, { names: string[]; image: ForeignImage }>();
    for (const descriptor of (await readJson(this.#file('index.json').file, indexSchema)).manifests) {
      const image = await this.#image(descriptor, 0);
      const { annotations } = descriptor;
      const name =
        annotations?.['io.containerd.image.name'] ?? annotations?.['org.opencontainers.image.ref.name'];
      if (!image) {
        if (name === undefined) continue; // such as what was said about how another one was built
        throw this.#noneForUs(name);
      }
      const known = images.get(descriptor.digest) ?? { names: [], image };
      images.set(descriptor.digest, known);
      if (name !== undefined) known.names.push(name);
    }
    return [...images.values()];
  }

  /** Undefined when there is none for this machine. */
  async #image(descriptor: Descriptor, depth: number): Promise<ForeignImage | undefined> {
    const { platform } = descriptor;
    if (platform && (platform.os !== 'linux' || platform.architecture !== this.#architecture))
      return undefined;
    const value = await readJson(this.#blob(descriptor.digest).file, z.unknown());
    const index = indexSchema.safeParse(value);
    if (index.success) {
      if (depth === MAX_DEPTH) throw notAnImage('its indexes name each other without end');
      for (const each of index.data.manifests) {
        // Copies of an index often have only some of its images.
        if (!this.#files.has(blobPath(each.digest))) continue;
        const image = await this.#image(each, depth + 1);
        if (image) return image;
      }
      return undefined;
    }
    const manifest = manifestSchema.safeParse(value);
    if (!manifest.success) throw notAnImage(z.prettifyError(manifest.error));
    refuseForeign(manifest.data.layers);
    const config = parseConfig(await readJson(this.#blob(manifest.data.config.digest).file, z.unknown()));
    return this.#checked({ ...config, layers: manifest.data.layers.map(({ digest }) => this.#blob(digest)) });
  }

  #checked(image: ForeignImage): ForeignImage {
    const { architecture, layers, diffIds } = image;
    if (architecture !== undefined && architecture !== this.#architecture)
      throw this.#noneForUs(architecture);
    if (diffIds.length !== layers.length)
      throw notAnImage(`its configuration has ${diffIds.length} layers, its manifest ${layers.length}`);
    for (const [index, { digest, file }] of layers.entries()) {
      const kind = archiveKind(toBytes(file));
      // Of compressed ones the digest that the manifest gave was checked.
      if (kind !== 'gzip' && kind !== 'zstd' && digest !== diffIds[index])
        throw notAnImage(`its layer ${index + 1} is not what its configuration says`);
    }
    return image;
  }

  #noneForUs(what: string): SkerryError {
    return notAnImage(`${clip(what)} is not made for linux/${this.#architecture}`);
  }

  #file(name: string): StoredFile {
    const found = this.#files.get(inside(name));
    if (found) return found;
    throw notAnImage(`the archive has no ${JSON.stringify(clip(name))}`);
  }

  #blob(digest: string): StoredFile {
    const found = this.#file(blobPath(digest));
    if (found.digest === digest) return found;
    throw notAnImage(`its file ${digest} has other content`);
  }
}

const blobPath = (digest: string): string => `blobs/${digest.replace(':', '/')}`;
