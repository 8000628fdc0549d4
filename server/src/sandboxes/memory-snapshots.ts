/**
 * Snapshots of the memory and the files of sandboxes, from which others go on. Each is a checkpoint of the engine's, an image with the files, and a row with what the others
 * are to be. None depends on the sandbox that it was taken of.
 */
import { mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { CheckpointOptions } from '../engines/engine.ts';
import { SkerryError } from '../errors/skerry-error.ts';
import {
  type ImageId,
  isForkId,
  isMemorySnapshotId,
  type MemorySnapshotId,
  newForkId,
  newMemorySnapshotId,
  newWarmUpId,
  type SandboxId,
  type TaskId,
} from '../ids.ts';
import type { Image, Images } from '../images/image.ts';
import { run } from '../platform/command.ts';
import { openJson, sealJson } from '../secrets/sealed-json.ts';
import type { Vault } from '../secrets/secrets.ts';
import type { Logger } from '../telemetry/logger.ts';
import type { SandboxSpec } from './spec.ts';
import type { Tenant } from './tenant.ts';

/** As long as Modal's are kept. */
const TTL_MS = 7 * 24 * 3_600_000;
/** Longer than any copy takes to start; then the files go of a fork that a killed server left. */
const FORK_TTL_MS = 3_600_000;

/** What callers see of one. */
export interface MemorySnapshot {
  readonly id: MemorySnapshotId;
  /** The sandbox it was taken of. */
  readonly sandboxId: SandboxId;
  readonly spec: Pick<SandboxSpec, 'appId'>;
  readonly createdAtMs: number;
  readonly expiresAtMs: number;
}

export interface MemorySnapshotRow {
  readonly id: MemorySnapshotId;
  /** Of those that go on from it; with the name and the tags that the sandbox had, and no secrets: these are in the environment. */
  readonly spec: SandboxSpec;
  /** The sandbox that it was taken of. */
  readonly sandboxId: SandboxId;
  readonly taskId: TaskId;
  /** The environment of its programs, sealed. */
  readonly sealedEnv: Uint8Array;
  readonly createdAtMs: number;
  readonly expiresAtMs: number;
}

export interface MemorySnapshotRepository {
  insert(row: MemorySnapshotRow): void;
  get(id: MemorySnapshotId): MemorySnapshotRow | undefined;
  /** The one with the files of that image. */
  ofImage(id: ImageId): MemorySnapshotRow | undefined;
  ids(): readonly MemorySnapshotId[];
  /** Newest first. */
  all(): readonly MemorySnapshotRow[];
  /** Newest first. */
  ofSandbox(id: SandboxId): readonly MemorySnapshotRow[];
  /** Those too whose image is gone. */
  expired(nowMs: number): readonly MemorySnapshotId[];
  delete(id: MemorySnapshotId): void;
}

export interface MemorySnapshotsParts {
  readonly repository: MemorySnapshotRepository;
  readonly images: Pick<Images, 'addLayer' | 'findAdded' | 'delete'>;
  readonly vault: Vault;
  /** Where checkpoints are, each under its snapshot's id. */
  readonly directory: string;
  /** Those there that are no snapshots: of sandboxes that sleep. */
  readonly others: readonly MemorySnapshotId[];
  readonly logger: Logger;
  readonly now: () => number;
}

/** The sandbox that one is taken of. */
export interface Remembered {
  readonly id: SandboxId;
  readonly taskId: TaskId;
  readonly spec: SandboxSpec;
  readonly name: string | undefined;
  readonly tags: Readonly<Record<string, string>>;
}

type Settle = NonNullable<CheckpointOptions['settle']>;

/** Where in a data directory the checkpoints are. */
export const checkpointsDir = (dataDir: string): string => join(dataDir, 'memory-snapshots');

export class MemorySnapshots {
  readonly #parts: MemorySnapshotsParts;

  /** Removes what an earlier run of the server left unfinished, but for forks: their copies have to end first. */
  constructor(parts: MemorySnapshotsParts) {
    this.#parts = parts;
    const { directory, repository, others } = parts;
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    const known = new Set<string>([...repository.ids(), ...others]);
    const left = readdirSync(directory).filter((name) => !known.has(name) && !isForkId(name));
    for (const name of left) this.removeFiles(name);
  }

  /** @throws SkerryError `conflict` for a sandbox that cannot have one, `disk-full`, `sandbox-ended` */
  async take(of: Remembered, tenant: Tenant, settle: Settle): Promise<MemorySnapshotId> {
    const id = newMemorySnapshotId();
    const { repository } = this.#parts;
    await this.#make(id, of, tenant, { settle, ttlMs: TTL_MS }, (row) => repository.insert(row));
    return id;
  }

  /**
   * One that copies begin from at once, and nobody else can. It is in no row: until `letGo` is called for it, a server that comes back takes its copies for unfinished.
   * @throws as `take`
   */
  takeForFork(of: Remembered, tenant: Tenant, settle: Settle): Promise<MemorySnapshotRow> {
    return this.#make(newForkId(), of, tenant, { settle, ttlMs: FORK_TTL_MS, brief: true }, () => {});
  }

  /**
   * One that sandboxes of an image begin from, whoever asks for them, until it expires or is collected as cached images are. Of the sandbox that it is taken of nothing is in it but what the
   * image has; it is found by `key`, and by nothing else.
   * @throws as `take`
   */
  async takeWarmUp(
    key: string,
    { id: sandboxId, taskId, spec }: Pick<Remembered, 'id' | 'taskId' | 'spec'>,
    { plan, ...tenant }: Tenant,
    settle: Settle,
  ): Promise<MemorySnapshotId> {
    const id = newWarmUpId();
    const of = { id: sandboxId, taskId, spec: { ...spec, args: [] }, name: undefined, tags: {} };
    const { repository } = this.#parts;
    await this.#make(
      id,
      of,
      { ...tenant, plan: { ...plan, env: {} } },
      { settle, ttlMs: TTL_MS, key },
      (row) => repository.insert(row),
    );
    return id;
  }

  warmUp(key: string): MemorySnapshotRow | undefined {
    const { images, repository, now } = this.#parts;
    const image = images.findAdded(key);
    const row = image && repository.ofImage(image.id);
    return row && row.expiresAtMs > now() ? row : undefined;
  }

  /** Nobody begins from it any more; who does at this moment cannot. */
  removeWarmUp(id: MemorySnapshotId): void {
    this.#remove(id);
  }

  /** The copies are whole, or gone: nobody begins from it any more. From this moment on a server that comes back lets them be. @throws what keeps it from being so */
  letGo({ id, spec: { imageId } }: MemorySnapshotRow): void {
    const { directory, images } = this.#parts;
    renameSync(join(directory, id), join(directory, `${id}.partial`));
    this.removeFiles(id);
    images.delete(imageId).catch(() => {}); // it expires
  }

  /** The same once more under an id that no row has, which takes no room. @throws SkerryError `not-found` */
  async duplicate(id: MemorySnapshotId): Promise<MemorySnapshotId> {
    const { directory } = this.#parts;
    const made = newMemorySnapshotId();
    const partial = join(directory, `${made}.partial`);
    try {
      await run(['cp', '-a', '-l', '-T', join(directory, id), partial]); // nobody writes to either
      renameSync(partial, join(directory, made));
    } catch (cause) {
      this.removeFiles(made);
      throw new SkerryError('not-found', `The snapshot '${id}' is gone.`, { cause });
    }
    return made;
  }

  /** What an earlier server had not let go of. */
  get unfinishedForks(): ReadonlySet<string> {
    return new Set(readdirSync(this.#parts.directory).filter(isForkId));
  }

  /** Of one that no copy begins from any more. */
  forgetFork(id: string): void {
    this.removeFiles(id);
  }

  async #make(
    id: MemorySnapshotId,
    of: Remembered,
    { instance, plan }: Tenant,
    { ttlMs, key, ...options }: CheckpointOptions & { readonly ttlMs: number; readonly key?: string },
    keep: (row: MemorySnapshotRow) => void,
  ): Promise<MemorySnapshotRow> {
    const { images, vault, now } = this.#parts;
    let image: Image | undefined;
    try {
      image = await images.addLayer(plan.image, ({ ref }) => instance.checkpoint(id, ref, options), {
        ...{ ttlMs, key },
      });
      const createdAtMs = now();
      const row = {
        id,
        sandboxId: of.id,
        taskId: of.taskId,
        spec: specOfCopies(of, { instance, plan, image }),
        sealedEnv: sealJson(vault, plan.env, id),
        createdAtMs,
        expiresAtMs: image.expiresAtMs ?? createdAtMs + ttlMs,
      };
      keep(row);
      return row;
    } catch (error) {
      if (image) await images.delete(image.id).catch(() => {}); // it expires
      this.removeFiles(id);
      throw error;
    }
  }

  /** @throws SkerryError `not-found` */
  get(id: MemorySnapshotId): MemorySnapshot {
    return toSnapshot(this.row(id));
  }

  /** @see Sandboxes.memorySnapshots */
  list(of?: SandboxId): MemorySnapshot[] {
    const { repository, now } = this.#parts;
    const nowMs = now();
    const rows = of === undefined ? repository.all() : repository.ofSandbox(of);
    return rows
      .filter(({ id, expiresAtMs }) => isMemorySnapshotId(id) && expiresAtMs > nowMs)
      .map(toSnapshot);
  }

  /** @see Sandboxes.deleteMemorySnapshot */
  async delete(id: MemorySnapshotId): Promise<void> {
    const { spec } = this.row(id);
    this.#remove(id);
    await this.#parts.images.delete(spec.imageId).catch(() => {}); // it expires
  }

  /** @throws SkerryError `not-found` */
  row(id: MemorySnapshotId): MemorySnapshotRow {
    const row = isMemorySnapshotId(id) ? this.#parts.repository.get(id) : undefined;
    if (row && row.expiresAtMs > this.#parts.now()) return row;
    throw new SkerryError('not-found', `There is no snapshot '${id}', or it has expired.`);
  }

  /** The environment of the programs of a sandbox that goes on from it and has these ids. */
  environment(row: MemorySnapshotRow, id: SandboxId, taskId: TaskId): Record<string, string> {
    const env = openJson<Record<string, string>>(this.#parts.vault, row.sealedEnv, row.id);
    const ids = { [row.sandboxId]: id, [row.taskId]: taskId };
    for (const name of ['MODAL_SANDBOX_ID', 'MODAL_TASK_ID']) {
      const renewed = ids[env[name] ?? ''];
      if (renewed) env[name] = renewed; // it may have been given another value
    }
    return env;
  }

  /** Removes those that have expired, or whose files are gone. Sandboxes that went on from them need them no more. */
  sweep(): void {
    const { repository, now, logger } = this.#parts;
    for (const id of repository.expired(now())) {
      this.#remove(id);
      logger.info({ snapshot: id }, 'memory-snapshot.expired');
    }
  }

  #remove(id: MemorySnapshotId): void {
    this.#parts.repository.delete(id);
    this.removeFiles(id);
  }

  /** Removes a checkpoint, if there is one. Never throws: what cannot be removed is tried again by the next server. */
  removeFiles(name: string): void {
    const { directory, logger } = this.#parts;
    try {
      for (const path of [name, `${name}.partial`])
        rmSync(join(directory, path), { recursive: true, force: true });
    } catch (err) {
      logger.error({ err, snapshot: name }, 'memory-snapshot.not-removed');
    }
  }
}

const toSnapshot = ({
  id,
  spec,
  sandboxId,
  createdAtMs,
  expiresAtMs,
}: MemorySnapshotRow): MemorySnapshot => ({ id, spec, sandboxId, createdAtMs, expiresAtMs });

/** Its limits and its network are those it has, whatever the server's defaults will be. */
function specOfCopies(
  { spec: { warmUp: _, ...spec }, name, tags }: Remembered,
  { instance, plan, image }: Pick<Tenant, 'instance' | 'plan'> & { readonly image: Image },
): SandboxSpec {
  const { resources } = spec;
  const { memoryMiB, milliCpu } = plan.limits;
  return {
    ...spec,
    imageId: image.id,
    name,
    tags,
    mountIds: [], // in the image
    secretSources: [],
    runtime: instance.runtime,
    network: instance.networkPolicy,
    resources: { ...resources, memoryLimitMiB: memoryMiB, milliCpuLimit: milliCpu },
    externalKey: undefined,
  };
}
