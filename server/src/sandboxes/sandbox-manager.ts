/** All sandboxes of a server: admission, names, look-ups, and their recovery after a restart. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { BlobStore, Mounts } from '../blobs/blobs.ts';
import type { Config } from '../config/config.ts';
import type { Engine, Instance } from '../engines/engine.ts';
import { SkerryError } from '../errors/skerry-error.ts';
import { type AppId, newSandboxId, newTaskId, type SandboxId, type TaskId } from '../ids.ts';
import type { Image, Images } from '../images/image.ts';
import { Limiter } from '../platform/limiter.ts';
import { withDeadline } from '../platform/wait.ts';
import type { Secrets, Vault } from '../secrets/secrets.ts';
import type { Database } from '../store/database.ts';
import { ProcessRepository } from '../store/processes.ts';
import { isUniqueViolation, SandboxRepository, type SandboxRow } from '../store/sandboxes.ts';
import type { Logger } from '../telemetry/logger.ts';
import { imageWithMounts } from './file-mounts.ts';
import { type LaunchPlan, ManagedSandbox, nameTaken, type SandboxContext } from './managed-sandbox.ts';
import { sandboxEnvironment } from './process-environment.ts';
import type { CreateOptions, Sandbox, Sandboxes, SandboxFilter } from './sandboxes.ts';
import type { ResourceRequest, SandboxSpec } from './spec.ts';

const HOUR_MS = 3_600_000;
const CLOSE_PATIENCE_MS = 3_000;

export interface SandboxManagerOptions {
  readonly database: Database;
  readonly engine: Engine;
  readonly images: Images;
  readonly secrets: Secrets;
  readonly vault: Vault;
  readonly mounts: Mounts;
  readonly blobs: BlobStore;
  readonly dataDir: string;
  readonly config: Pick<
    Config,
    | 'runtime'
    | 'maxSandboxes'
    | 'maxStarting'
    | 'defaultMemoryMiB'
    | 'defaultMilliCpu'
    | 'defaultPids'
    | 'maxOutputMiB'
    | 'keepOutputHours'
  >;
  /** Variables that make programs trust the configured extra CA certificates. */
  readonly caEnvironment: Readonly<Record<string, string>>;
  readonly logger: Logger;
  readonly now: () => number;
}

export class SandboxManager implements Sandboxes {
  readonly #options: SandboxManagerOptions;
  readonly #repository: SandboxRepository;
  readonly #context: SandboxContext;
  /** Everything that has not ended. Ended ones are read from the store when somebody asks. */
  readonly #live = new Map<SandboxId, ManagedSandbox>();
  readonly #liveByTask = new Map<TaskId, ManagedSandbox>();
  readonly #starts: Limiter;
  #lastCreatedAtMs: number;
  #closing = false;

  constructor(options: SandboxManagerOptions) {
    this.#options = options;
    this.#repository = new SandboxRepository(options.database);
    this.#starts = new Limiter(options.config.maxStarting);
    this.#lastCreatedAtMs = this.#repository.newestCreatedAtMs();
    const outputRoot = join(options.dataDir, 'output');
    mkdirSync(outputRoot, { recursive: true, mode: 0o700 });
    this.#context = {
      engine: options.engine,
      images: options.images,
      sandboxes: this.#repository,
      processes: new ProcessRepository(options.database),
      outputRoot,
      maxOutputBytes: options.config.maxOutputMiB * 2 ** 20,
      logger: options.logger,
      now: options.now,
      resolveSecrets: (sources) => options.secrets.resolve(sources),
      onEnded: (sandbox) => {
        this.#live.delete(sandbox.id);
        this.#liveByTask.delete(sandbox.taskId);
      },
    };
  }

  /** How many have not ended. */
  get size(): number {
    return this.#live.size;
  }

  async create(spec: SandboxSpec, { idShape = 'v2', requestKey }: CreateOptions = {}): Promise<Sandbox> {
    const { config, images, secrets, vault } = this.#options;
    if (this.#closing) throw new SkerryError('unavailable', 'The server is shutting down.');
    const made = requestKey === undefined ? undefined : this.#repository.getByRequestKey(requestKey);
    if (made) return this.get(made.id);
    if (this.#live.size >= config.maxSandboxes) {
      throw new SkerryError(
        'resource-exhausted',
        `All ${config.maxSandboxes} sandboxes this server may run are in use.`,
      );
    }
    const image = images.get(spec.imageId);
    const id = newSandboxId(idShape);
    const taskId = newTaskId();
    const env = sandboxEnvironment({
      id,
      taskId,
      image: image.config,
      caEnvironment: this.#options.caEnvironment,
      secretEnv: secrets.resolve(spec.secretSources),
    });
    for (const mountId of spec.mountIds) this.#options.mounts.files(mountId);
    const createdAtMs = Math.max(this.#options.now(), this.#lastCreatedAtMs + 1);
    this.#lastCreatedAtMs = createdAtMs;
    try {
      this.#repository.insert({
        id,
        taskId,
        spec,
        sealedEnv: vault.seal(Buffer.from(JSON.stringify(env))),
        createdAtMs,
        requestKey,
      });
    } catch (error) {
      if (!isUniqueViolation(error)) throw error;
      if (spec.name !== undefined && this.#repository.find(spec.appId, spec.name, false))
        throw nameTaken(spec.name);
      throw new SkerryError('already-exists', `A running sandbox already has the key '${spec.externalKey}'.`);
    }
    const row = this.#repository.get(id);
    if (!row) throw new Error(`sandbox ${id} vanished from the store`);
    const sandbox = this.#add(row);
    void this.#start(sandbox, () => this.#plan(sandbox.spec, image, env));
    return sandbox;
  }

  get(id: SandboxId): Sandbox {
    return this.#live.get(id) ?? this.#stored(this.#repository.get(id), `sandbox ${id}`);
  }

  getByTask(id: TaskId): Sandbox {
    return this.#liveByTask.get(id) ?? this.#stored(this.#repository.getByTask(id), `task ${id}`);
  }

  findByName(appId: AppId, name: string, includeEnded: boolean): Sandbox | undefined {
    return this.#fromRow(this.#repository.find(appId, name, includeEnded));
  }

  findByExternalKey(key: string): Sandbox | undefined {
    const id = this.#repository.liveIdByExternalKey(key);
    return id && this.#live.get(id);
  }

  list(filter: SandboxFilter): readonly Sandbox[] {
    return this.#repository.list(filter).flatMap((row) => this.#fromRow(row) ?? []);
  }

  /**
   * After a start of the server, once: takes over what still lives and ends or starts again what does not. Returns when every sandbox and process can be
   * asked for; those whose agent has yet to answer make their callers wait.
   */
  async recover(): Promise<void> {
    const rows = this.#repository.live();
    const instances = await this.#options.engine.adopt(new Set(rows.map((row) => row.taskId)));
    for (const row of rows) void this.#recover(this.#add(row), row, instances.get(row.taskId));
  }

  async #start(sandbox: ManagedSandbox, plan: () => Promise<LaunchPlan>): Promise<void> {
    await this.#starts.run(async () => {
      if (!this.#closing) await sandbox.start(plan);
    });
  }

  async #recover(sandbox: ManagedSandbox, row: SandboxRow, instance: Instance | undefined): Promise<void> {
    try {
      const { env, image } = this.#sealed(row);
      const plan = () => this.#plan(row.spec, image, env);
      if (await sandbox.recover(instance, plan)) await this.#start(sandbox, plan);
    } catch (error) {
      this.#options.logger.error({ sandbox: row.id, err: error }, 'sandbox.recovery-failed');
      await instance?.destroy();
      await sandbox.terminate();
    }
  }

  /**
   * Stops taking new ones and lets go of the rest, which go on running. Starts under way get a moment to finish; the next server begins the others
   * anew.
   */
  async close(): Promise<void> {
    this.#closing = true;
    await withDeadline(this.#starts.idle(), CLOSE_PATIENCE_MS);
    for (const sandbox of this.#live.values()) sandbox.detach();
  }

  /** Removes the output of sandboxes that ended longer ago than it is kept. Called on a timer. */
  sweep(): void {
    const before = this.#options.now() - this.#options.config.keepOutputHours * HOUR_MS;
    for (const row of this.#repository.endedBefore(before)) {
      new ManagedSandbox(this.#context, row).forget();
      this.#repository.delete(row);
    }
  }

  /** For a data directory whose engine was emptied: says so in the store. */
  static markAllTerminated(database: Database, nowMs: number): void {
    const repository = new SandboxRepository(database);
    for (const row of repository.live()) {
      repository.update({ ...row, state: 'ended', result: { kind: 'terminated' }, endedAtMs: nowMs });
    }
  }

  #add(row: SandboxRow): ManagedSandbox {
    const sandbox = new ManagedSandbox(this.#context, row);
    this.#live.set(sandbox.id, sandbox);
    this.#liveByTask.set(sandbox.taskId, sandbox);
    return sandbox;
  }

  #fromRow(row: SandboxRow | undefined): Sandbox | undefined {
    return row && (this.#live.get(row.id) ?? new ManagedSandbox(this.#context, row));
  }

  #stored(row: SandboxRow | undefined, what: string): Sandbox {
    const sandbox = this.#fromRow(row);
    if (!sandbox) throw new SkerryError('not-found', `There is no ${what}.`);
    return sandbox;
  }

  #sealed(row: SandboxRow): { env: Record<string, string>; image: Image } {
    if (!row.sealedEnv) throw new Error(`sandbox ${row.id} has no environment`);
    // Sealed by create() above, authenticated by the vault.
    const env = JSON.parse(Buffer.from(this.#options.vault.open(row.sealedEnv)).toString('utf8')) as Record<
      string,
      string
    >;
    return { env, image: this.#options.images.get(row.spec.imageId) };
  }

  async #plan(spec: SandboxSpec, image: Image, env: Readonly<Record<string, string>>): Promise<LaunchPlan> {
    const { images, config } = this.#options;
    const rootImage = await imageWithMounts(spec.mountIds, image, this.#options);
    const args = spec.args.length > 0 ? spec.args : image.config.cmd;
    return {
      image: rootImage,
      layers: images.layerDirectories(rootImage),
      argv: spec.noEntrypoint ? [] : [...image.config.entrypoint, ...args],
      env,
      workdir: spec.workdir ?? image.config.workdir,
      user: image.config.user,
      runtime: spec.runtime ?? config.runtime,
      limits: this.#limits(spec.resources),
    };
  }

  #limits(request: ResourceRequest): LaunchPlan['limits'] {
    const { defaultMemoryMiB, defaultMilliCpu, defaultPids } = this.#options.config;
    return {
      memoryMiB: request.memoryLimitMiB || Math.max(request.memoryMiB, defaultMemoryMiB),
      milliCpu: request.milliCpuLimit || Math.max(request.milliCpu, defaultMilliCpu),
      milliCpuRequest: request.milliCpu || Math.min(defaultMilliCpu, 125),
      pids: defaultPids,
    };
  }
}
