/** The image of sandboxes whose caller names none: `images/code-interpreter`, built at its first use. */
import { createHash } from 'node:crypto';
import { readFile, realpath, stat } from 'node:fs/promises';
import { join, sep } from 'node:path';
import { z } from 'zod';
import { SkerryError } from '../errors/skerry-error.ts';
import type { Logger } from '../telemetry/logger.ts';
import { type Image, type Images, plainDefinition } from './image.ts';

const IMAGE_NAME = 'code-interpreter';
/** Written by the last step of the Dockerfile. */
const VERSIONS_FILE = 'etc/code-interpreter.json';
const MAX_VERSIONS_BYTES = 4096;
const LOG_TAIL_LINES = 15;

const versionsSchema = z.object({
  builtFrom: z.string().max(100),
  python: z.string().max(100),
  node: z.string().max(100),
  bash: z.string().max(100),
  go: z.string().max(100),
});
type Versions = z.infer<typeof versionsSchema>;

const invocations = [
  { key: 'python', name: 'Python', invocation: 'python3' },
  { key: 'node', name: 'Node', invocation: 'node' },
  { key: 'bash', name: 'Bash', invocation: 'bash' },
  { key: 'go', name: 'Go', invocation: 'go run' },
] as const;

/** What is known of it. The versions are those that its build wrote down; none where it did not. */
export type DefaultImageState =
  | { readonly kind: 'not-built' }
  | { readonly kind: 'building' }
  | { readonly kind: 'failed'; readonly message: string }
  | {
      readonly kind: 'ready';
      readonly image: Image;
      /** The Dockerfile it was made with. */
      readonly builtFrom: string | undefined;
      readonly languages: readonly Language[];
    };

export interface Language {
  readonly name: string;
  readonly version: string;
  /** The command that runs a program in it. */
  readonly invocation: string;
}

/** A build has bounds of its own, and is for whoever comes next when the one who asked is gone. */
const unending = new AbortController().signal;

type State =
  | { readonly kind: 'not-built' }
  | { readonly kind: 'building'; readonly image: Promise<Image> }
  | { readonly kind: 'ready'; readonly image: Image; readonly versions: Versions | undefined }
  | { readonly kind: 'failed'; readonly message: string };

export class DefaultImage {
  readonly #images: Images;
  readonly #directory: string;
  readonly #logger: Logger;
  #state: State = { kind: 'not-built' };

  /** `directory` holds the Dockerfile. A build under way ends with `images`. */
  constructor(parts: { images: Images; directory: string; logger: Logger }) {
    this.#images = parts.images;
    this.#directory = parts.directory;
    this.#logger = parts.logger;
  }

  /**
   * The image, built now when it is not there; callers at the same time share one build.
   * @throws SkerryError `image-build-failed` with the end of the build's log
   */
  ensure(): Promise<Image> {
    if (this.#state.kind === 'building') return this.#state.image;
    if (this.#state.kind === 'ready' && this.#exists(this.#state.image)) {
      return Promise.resolve(this.#state.image);
    }
    const image = this.#prepare();
    this.#state = { kind: 'building', image };
    return image;
  }

  /** What is known of it, without starting a build. */
  get state(): DefaultImageState {
    const state = this.#state;
    switch (state.kind) {
      case 'not-built':
      case 'failed':
        return state;
      case 'building':
        return { kind: 'building' };
      case 'ready': {
        const { image, versions } = state;
        const languages = versions
          ? invocations.map(({ key, name, invocation }) => ({ name, version: versions[key], invocation }))
          : [];
        return { kind: 'ready', image, builtFrom: versions?.builtFrom, languages };
      }
      default:
        return state satisfies never;
    }
  }

  /** The image may have been deleted through the API since. */
  #exists(image: Image): boolean {
    try {
      this.#images.get(image.id);
      return true;
    } catch {
      return false;
    }
  }

  async #prepare(): Promise<Image> {
    try {
      const image = await this.#findOrBuild();
      this.#state = { kind: 'ready', image, versions: await this.#versionsOf(image) };
      return image;
    } catch (error) {
      this.#state = { kind: 'failed', message: error instanceof Error ? error.message : String(error) };
      throw error;
    }
  }

  async #findOrBuild(): Promise<Image> {
    const dockerfile = await readFile(join(this.#directory, 'Dockerfile'), 'utf8');
    // The name carries what it was made from, so that a new release builds anew and a restart finds what is there.
    const digest = createHash('sha256').update(dockerfile).digest('hex').slice(0, 12);
    const name = `${IMAGE_NAME}:${digest}`;
    const published = this.#findPublished(name);
    if (published) return published;

    const outcome = await this.#build(dockerfile);
    if (typeof outcome === 'string')
      throw new SkerryError('image-build-failed', `The default image could not be built. ${outcome}`);
    this.#images.publish(outcome.id, name);
    this.#logger.info({ image: outcome.id }, 'image.default.built');
    return outcome;
  }

  #findPublished(name: string): Image | undefined {
    try {
      return this.#images.get(this.#images.getByName(name));
    } catch (error) {
      const gone = error instanceof SkerryError && (error.code === 'not-found' || error.code === 'conflict');
      if (gone) return undefined;
      throw error;
    }
  }

  /** The finished image, or why there is none. */
  async #build(dockerfile: string): Promise<Image | string> {
    const log: string[] = [];
    try {
      const { id, result } = await this.#images.getOrBuild({
        ...plainDefinition,
        dockerfileLines: dockerfile.split('\n'),
        builderVersion: '',
      });
      if (result?.kind === 'success') return this.#images.get(id);
      for await (const event of this.#images.follow(id, 0, unending)) {
        if (event.kind === 'log') {
          log.push(...event.entry.text.trimEnd().split('\n'));
          log.splice(0, Math.max(0, log.length - LOG_TAIL_LINES));
        } else if (event.result.kind === 'success') return this.#images.get(id);
        else return [...log, event.result.message].join('\n');
      }
      return [...log, 'the build log ended without a result'].join('\n');
    } catch (error) {
      return [...log, error instanceof Error ? error.message : String(error)].join('\n');
    }
  }

  /** Reads what the build wrote down. A layer is data from a build: links out of it are not followed, and it is bounded. */
  async #versionsOf(image: Image): Promise<Versions | undefined> {
    for (const layer of this.#images.layerDirectories(image).toReversed()) {
      try {
        const root = await realpath(layer);
        const file = await realpath(join(root, VERSIONS_FILE));
        if (!file.startsWith(root + sep) || (await stat(file)).size > MAX_VERSIONS_BYTES) continue;
        return versionsSchema.parse(JSON.parse(await readFile(file, 'utf8')));
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'ENOENT') continue;
        this.#logger.warn({ image: image.id, err: error }, 'image.default.versions-unreadable');
        return undefined;
      }
    }
    return undefined;
  }
}
