/** Layers of ours in a registry, for the nodes of a cluster, which fetch them from there. */
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { ImageSource } from '../engines/kubernetes/image-source.ts';
import { SkerryError } from '../errors/skerry-error.ts';
import { CleanupScope } from '../platform/cleanup.ts';
import type { MachineRoom } from '../platform/machine-room.ts';
import { withinRoom } from '../platform/room-watch.ts';
import { emptied } from '../platform/unfinished.ts';
import { unlessAborted } from '../platform/wait.ts';
import type { Logger } from '../telemetry/logger.ts';
import { formatReference, parseReference, type Reference } from './bases/reference.ts';
import { authConfig, Registry } from './bases/registry.ts';
import { emptyImageConfig, type RegistryLogin } from './image.ts';
import { thisPlatform } from './oci/platform.ts';
import { type PackedLayer, writeLayout } from './oci/write-archive.ts';
import { readLogin } from './registry-login.ts';
import { SentLayers } from './sent-layers.ts';

export interface RegistryImagesOptions {
  /** `HOST[:PORT]/REPOSITORY` */
  readonly repository: string;
  readonly insecure: readonly string[];
  readonly timeoutMs: number;
  /** A file with the password of the registry (`registry-login.ts`); empty: it takes none. */
  readonly authFile: string;
  /** For what is being packed, by nobody else; whatever is in it goes. */
  readonly directory: string;
  /** Where it is written down which layers the registry has, by all servers that share it. On the same file system. */
  readonly sentFile: string;
  readonly room: MachineRoom;
  readonly logger: Logger;
}

/** Of each it is the same, so that the same layers make the same image. */
const CREATED_AT_MS = 0;

export class RegistryImages implements ImageSource {
  readonly #options: RegistryImagesOptions;
  readonly #repository: Reference;
  readonly #registry: Registry;
  readonly #layers: SentLayers;
  /** What is there, or on its way: it goes on when nobody waits for it any more, so that whoever asks next finds it. */
  readonly #sent = new Map<string, Promise<void>>();
  #closing = new AbortController();

  /** @throws SkerryError `invalid-argument` for what is no repository */
  constructor(options: RegistryImagesOptions) {
    const { repository, insecure, timeoutMs, room, directory, sentFile, logger } = options;
    this.#options = options;
    this.#layers = new SentLayers(sentFile, join(directory, 'sent-layers.new'));
    this.#repository = parseReference(repository);
    const { registry } = this.#repository;
    this.#registry = new Registry({
      // The operator named it: it may be anywhere.
      mirrors: [`${registry}=${registry}`],
      ...{ insecure, timeoutMs, room },
      allowed: [],
      maxImageBytes: Number.MAX_SAFE_INTEGER,
      clock: Date.now,
    });
    emptied(directory, (err) => logger.error({ err }, 'kubernetes.temporary-not-emptied'));
  }

  async provide(tag: string, layers: readonly string[], signal: AbortSignal): Promise<string> {
    const reference = { ...this.#repository, tag, digest: undefined };
    let sent = this.#sent.get(tag);
    if (!sent) {
      sent = this.#push(reference, layers, this.#closing.signal);
      this.#sent.set(tag, sent);
      sent.catch(() => this.#sent.delete(tag));
    }
    await unlessAborted(sent, signal);
    return formatReference(reference);
  }

  async credentials(): Promise<string | undefined> {
    const login = await this.#readLogin();
    return login && JSON.stringify(authConfig(this.#repository.registry, login));
  }

  async #readLogin(): Promise<RegistryLogin | undefined> {
    const { authFile } = this.#options;
    return authFile === '' ? undefined : readLogin(authFile, this.#repository.registry);
  }

  close(): void {
    this.#closing.abort(new SkerryError('unavailable', 'The server is shutting down.'));
    this.#closing = new AbortController();
  }

  async #push(reference: Reference, layers: readonly string[], signal: AbortSignal): Promise<void> {
    const { directory, room, logger } = this.#options;
    await using cleanup = new CleanupScope(logger);
    const workspace = await mkdtemp(join(directory, 'image-'));
    cleanup.add('workspace', () => rm(workspace, { recursive: true, force: true }));
    const login = await this.#readLogin();
    if (await this.#registry.has(reference, login, workspace, signal)) return;
    const image = {
      ...{ names: [], layers, history: undefined },
      config: emptyImageConfig,
      createdAtMs: CREATED_AT_MS,
      architecture: thisPlatform,
    };
    const send = (layout: string, packed: (layer: string) => PackedLayer | undefined) =>
      withinRoom({ room, signal }, async (signal) => {
        const directory = join(workspace, layout);
        await mkdir(directory, { mode: 0o700 });
        const written = await writeLayout(directory, [image], signal, packed);
        await this.#registry.push(directory, reference, login, workspace, signal);
        await this.#layers.add(written);
      });
    this.#layers.look();
    const known = (layer: string) => this.#layers.of(layer);
    try {
      await send('changes', known);
    } catch (err) {
      signal.throwIfAborted();
      const isDenied = err instanceof SkerryError && err.code === 'permission-denied';
      if (isDenied || !layers.some(known)) throw err;
      // It may have dropped a layer, or be another one.
      logger.warn({ err }, 'kubernetes.layers-sent-again');
      await send('layout', () => undefined);
    }
  }
}
