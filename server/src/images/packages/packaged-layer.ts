/** Layers made of packages: what each is, and how it comes into being. */
import { join } from 'node:path';
import { SkerryError } from '../../errors/skerry-error.ts';
import type { LayerEdit } from '../layers/edit.ts';
import { type Digest, type DownloadOptions, download } from './download.ts';
import type { PackageSources } from './sources.ts';

/** A layer that equal keys make equal. It lies on nothing, so that images with different bases share it. */
export interface PackagedLayer {
  readonly key: string;
  /** For the build log: `CPython 3.12.3 (Go module ...)`. */
  readonly what: string;
  /** Downloads what it is made of into the fetcher's directory. */
  prepare(fetcher: Fetcher): Promise<LayerEdit>;
}

/** The architectures' names in each registry. Machines of other architectures have no stand-ins. */
export const architectures = {
  x64: { go: 'amd64', npm: 'x64', maven: 'linux-x86_64', wheel: 'x86_64' },
  arm64: { go: 'arm64', npm: 'arm64', maven: 'linux-arm64', wheel: 'aarch64' },
} as const;
export type Architecture = keyof typeof architectures;

export const thisArchitecture = (): Architecture | undefined =>
  process.arch === 'x64' || process.arch === 'arm64' ? process.arch : undefined;

/** Fetches packages into one directory. Made for one layer. */
export class Fetcher {
  readonly #sources: PackageSources;
  readonly #directory: string;
  readonly #options: DownloadOptions;

  constructor(sources: PackageSources, directory: string, options: DownloadOptions) {
    this.#sources = sources;
    this.#directory = directory;
    this.#options = options;
  }

  /**
   * The zip of a Go module: https://go.dev/ref/mod#goproxy-protocol. Its hash is checked where it is unpacked. `path` and `version` are in lower case, as
   * those of all modules used here.
   */
  async goModule(path: string, version: string): Promise<string> {
    const reasons: string[] = [];
    for (const proxy of this.#sources.goProxies) {
      try {
        return await this.#file(`${proxy}/${path}/@v/${version}.zip`, 'module.zip', undefined);
      } catch (error) {
        this.#options.signal.throwIfAborted();
        if (!(error instanceof SkerryError) || error.code === 'disk-full') throw error;
        reasons.push(error.message);
      }
    }
    throw new SkerryError(
      'image-build-failed',
      reasons.length > 0
        ? reasons.join('; ')
        : 'no Go module proxy may be asked: set --go-proxy, or GOPROXY for the server',
    );
  }

  /** A file of a Maven repository, `group/artifact/version/file`. */
  mavenFile(path: string, sha256: string): Promise<string> {
    const digest = { algorithm: 'sha256', hex: sha256 } as const;
    return this.#file(`${this.#sources.mavenRepository}/${path}`, 'package.jar', digest);
  }

  /** A file whose registry told its address and digest. */
  registryFile(url: string, name: string, digest: Digest): Promise<string> {
    return this.#file(url, name, digest);
  }

  async #file(url: string, name: string, digest: Digest | undefined): Promise<string> {
    const file = join(this.#directory, name);
    await download(url, file, digest, MAX_PACKAGE, this.#options);
    return file;
  }
}

/** The largest packages used are Go's and Node's, below 150 MB. */
const MAX_PACKAGE = 512 << 20;
