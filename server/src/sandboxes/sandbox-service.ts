/** All sandboxes of a server: admission, names, look-ups, and their recovery after a restart. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { EnvironmentQuotas } from '../auth/environment-quotas.ts';
import type { BlobStore, Mounts } from '../blobs/blobs.ts';
import type { Config } from '../config/config.ts';
import type { InstanceBucket } from '../engines/bucket.ts';
import type { Device, DiskSize, IsLeft, Isolation } from '../engines/engine.ts';
import { SkerryError } from '../errors/skerry-error.ts';
import {
  type AppId,
  type EnvironmentId,
  type InstanceId,
  isMemberId,
  type MemberId,
  type MemorySnapshotId,
  newSandboxId,
  newTaskId,
  type SandboxId,
  type SandboxIdShape,
  sandboxIdShape,
  type TaskId,
} from '../ids.ts';
import type { Image, Images } from '../images/image.ts';
import type { InstanceService } from '../instances/instance-service.ts';
import type { Warmed, WarmKind } from '../instances/warm-pool.ts';
import { type FaultPoint, noFaultPoint } from '../platform/fault-points.ts';
import type { KeptValues } from '../platform/kept-values.ts';
import { Ledger } from '../platform/ledger.ts';
import { Limiter } from '../platform/limiter.ts';
import { withDeadline } from '../platform/wait.ts';
import { openJson, sealJson } from '../secrets/sealed-json.ts';
import type { Secrets, Vault } from '../secrets/secrets.ts';
import { Counts } from '../telemetry/counts.ts';
import type { Logger } from '../telemetry/logger.ts';
import { outsideCalls } from '../telemetry/tracing.ts';
import type { VolumeMounts } from '../volumes/volume-mounts.ts';
import { checkBucketMounts, withKeys } from './bucket-mounts.ts';
import { checkDiskSize, diskSize } from './disk-size.ts';
import { EndedSandbox } from './ended-sandbox.ts';
import { EndedSweep } from './ended-sweep.ts';
import { imageWithMounts } from './file-mounts.ts';
import { Forks } from './forks.ts';
import { isAnyServers, isKeptBy, type Keepers } from './keepers.ts';
import { KeptElsewhere } from './kept-elsewhere.ts';
import { holdsName } from './life.ts';
import { type LifeEntry, LifeLog } from './life-log.ts';
import { LiveSandbox, type SandboxContext, type SandboxParts } from './live-sandbox.ts';
import {
  checkpointsDir,
  type MemorySnapshot,
  type MemorySnapshotRepository,
  type MemorySnapshotRow,
  MemorySnapshots,
} from './memory-snapshots.ts';
import { imageEnvironment, sandboxEnvironment } from './process-environment.ts';
import { type Bound, type Quotas, requireQuotas, requireRoom, type Taken, takenBy } from './quotas.ts';
import { recoverSandboxes } from './recovery.ts';
import {
  isUniqueViolation,
  type ProcessRepository,
  type SandboxRepository,
  type SandboxRow,
} from './repositories.ts';
import { SandboxElsewhere } from './sandbox-elsewhere.ts';
import { nameTaken, sandboxEnded } from './sandbox-errors.ts';
import type {
  CreateOptions,
  ForkCopy,
  RestoreOptions,
  Sandbox,
  Sandboxes,
  SandboxFilter,
  Sidecars,
} from './sandboxes.ts';
import { fillHeaders, sealHeaders, withHeaders } from './secret-headers.ts';
import { ManagedSidecars, sidecarNameTaken } from './sidecars.ts';
import { diskAfter, type Sleep, Sleeps } from './sleep.ts';
import type { ResourceRequest, RuntimeChoice, SandboxSpec, SecretHeaderSpec } from './spec.ts';
import { type Startup, type StartupSummary, Startups } from './startups.ts';
import type { SandboxState } from './state.ts';
import type { LaunchPlan } from './tenant.ts';
import { expectationOf } from './warm-start.ts';
import { isAnybodys, type WarmedUp, type WarmUp, WarmUps, warmUpCommand, warmUpKey } from './warm-ups.ts';

interface AdmissionParts {
  /** Those of the machine, for a specification that wants one. */
  readonly gpus?: readonly Device[];
  /** What it goes on from. */
  readonly from?: MemorySnapshotRow;
  /** Whose quotas it counts for; a sidecar counts for its sandbox's. */
  readonly tokenId?: string | undefined;
  /** The server that is to keep it. */
  readonly memberId?: MemberId | undefined;
}

/** What of a sandbox is not in its specification. */
interface Unsealed {
  readonly env: Readonly<Record<string, string>>;
  readonly image: Image;
  readonly buckets: readonly InstanceBucket[];
}

const NOTHING_ASKED: ResourceRequest = { memoryMiB: 0, memoryLimitMiB: 0, milliCpu: 0, milliCpuLimit: 0 };
const HOUR_MS = 3_600_000;
const CLOSE_PATIENCE_MS = 3_000;

export interface SandboxServiceOptions {
  /** Where sandboxes and their processes are kept. */
  readonly store: {
    readonly sandboxes: SandboxRepository;
    readonly processes: ProcessRepository;
    readonly memorySnapshots: MemorySnapshotRepository;
    readonly settings: KeptValues<'boot-id'>;
  };
  readonly instances: InstanceService;
  readonly images: Images;
  readonly volumes: VolumeMounts;
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
    | 'defaultDiskMiB'
    | 'defaultDiskFiles'
    | 'maxDiskMiB'
    | 'maxOutputMiB'
    | 'keepOutputHours'
    | 'stopGraceSeconds'
    | 'idleAction'
  >;
  /** Variables that make programs trust the configured extra CA certificates. */
  readonly caEnvironment: Readonly<Record<string, string>>;
  /** The same for sandboxes with secret headers, which trust one more. */
  readonly headerEnvironment: Readonly<Record<string, string>>;
  readonly logger: Logger;
  readonly now: () => number;
  /** Which boot of the machine this is: what ran in an earlier one was ended by the reboot. */
  readonly bootId: string;
  readonly counts?: Counts;
  /** Is told of every start, once it is over. */
  readonly onStart?: (startup: Startup) => void;
  /** What the sandboxes of a token may take together; as much as they like by default. */
  readonly quotasOf?: (tokenId: string) => Quotas;
  /** The same of an environment, and how often some may be made in it. */
  readonly environments?: Pick<EnvironmentQuotas, 'of' | 'countCreates'>;
  /** Where this is one of several servers. */
  readonly keepers?: Keepers | undefined;
  /** For tests that end the server at a chosen moment. */
  readonly faultPoint?: FaultPoint;
}

/** So many sandboxes are in that state and run, or will, in that. */
export interface Census {
  readonly state: SandboxState;
  readonly isolation: Isolation | undefined;
  readonly count: number;
}

export class SandboxService implements Sandboxes {
  readonly #options: SandboxServiceOptions;
  readonly #repository: SandboxRepository;
  readonly #context: SandboxContext;
  readonly #sidecars: ManagedSidecars;
  readonly #memorySnapshots: MemorySnapshots;
  readonly #warmUps: WarmUps;
  readonly #forks: Forks;
  /** Everything whose end is not in the store, sidecars included. Ended ones are read from there when somebody asks. */
  readonly #live = new Map<SandboxId, LiveSandbox>();
  readonly #liveByTask = new Map<TaskId, LiveSandbox>();
  /** Of one of several servers. */
  readonly #elsewhere: KeptElsewhere | undefined;
  readonly #starts: Limiter;
  readonly #ledger: Ledger;
  readonly #lifeLog: LifeLog;
  readonly #startups: Startups;
  readonly #sweep: EndedSweep;
  #lastCreatedAtMs: number;
  #closing = false;

  constructor(options: SandboxServiceOptions) {
    this.#options = options;
    this.#repository = options.store.sandboxes;
    this.#starts = new Limiter(options.config.maxStarting);
    this.#lastCreatedAtMs = this.#repository.newestCreatedAtMs();
    const outputRoot = join(options.dataDir, 'output');
    mkdirSync(outputRoot, { recursive: true, mode: 0o700 });
    this.#ledger = new Ledger(options.logger);
    this.#lifeLog = new LifeLog(options.logger);
    this.#startups = new Startups(options.onStart);
    const { images, vault, logger, now, store } = options;
    this.#memorySnapshots = new MemorySnapshots({
      repository: store.memorySnapshots,
      directory: checkpointsDir(options.dataDir),
      others: this.#repository
        .live()
        .flatMap(({ state, slept }) => (state === 'suspended' && slept ? slept.checkpoint : [])),
      ...{ images, vault, logger, now },
    });
    this.#warmUps = new WarmUps({ snapshots: this.#memorySnapshots, logger, now });
    const { faultPoint = noFaultPoint } = options;
    this.#forks = new Forks({
      faultPoint,
      snapshots: this.#memorySnapshots,
      admit: (spec, from, { tokenId }) =>
        this.#admit(spec, sandboxIdShape(from.sandboxId), undefined, { from, tokenId }),
    });
    const { keepers } = options;
    const log = { ledger: this.#ledger, lifeLog: this.#lifeLog, logger, now };
    this.#elsewhere = keepers && new KeptElsewhere({ repository: this.#repository, keepers, ...log });
    this.#context = {
      instances: options.instances,
      images: options.images,
      volumes: options.volumes,
      memorySnapshots: this.#memorySnapshots,
      warmUps: this.#warmUps,
      sleeps: new Sleeps({ ...{ images, logger, now }, memory: this.#memorySnapshots }),
      sandboxes: this.#repository,
      processes: options.store.processes,
      ledger: this.#ledger,
      outputRoot,
      maxOutputBytes: options.config.maxOutputMiB * 2 ** 20,
      logger: options.logger,
      now: options.now,
      lifeLog: this.#lifeLog,
      counts: options.counts ?? new Counts(),
      startups: this.#startups,
      faultPoint,
      resolveSecrets: (sources) => options.secrets.resolve(sources),
      sealHeaders: (specs) => this.#sealHeaders(specs),
      queue: (turn) =>
        void outsideCalls(() => this.#starts.run(async () => (this.#closing ? undefined : turn()))),
      requireRoomToWake: ({ tokenId, spec }) => this.#requireQuotas(tokenId, spec, { diskMiB: 0 }),
      endDependents: (sandbox) => this.#sidecars.endAll(sandbox),
      stopGraceMs: options.config.stopGraceSeconds * 1000,
      onEndStored: (sandbox) => {
        this.#live.delete(sandbox.id);
        this.#liveByTask.delete(sandbox.taskId);
      },
    };
    this.#sweep = new EndedSweep({
      repository: this.#repository,
      forget: (row) => new EndedSandbox(this.#context, row).forget(),
      logger: options.logger,
    });
    this.#lifeLog.follow(({ sandboxId: sandbox, taskId: task, instance, kind, sidecarOf, result }) =>
      options.logger.info({ sandbox, task, instance, sidecarOf, result }, `sandbox.${kind}`),
    );
    this.#lifeLog.follow(({ sandboxId: id, taskId, kind }) => {
      if (kind === 'ended') options.instances.gpus.release(taskId);
      // One that ended without stopping first (its instance was gone when the server came back) has them still.
      if (kind === 'ended') void this.#sidecars.endAll({ id });
    });
    this.#sidecars = new ManagedSidecars({
      repository: this.#repository,
      admit: (spec, requestKey) => this.#admit(spec, 'v2', requestKey),
      load: (row) => this.#fromRow(row),
      live: () => [...this.#live.values()].filter(holdsName),
    });
  }

  /** Has `follower` hear of everything that happens to sandboxes from now on, until the returned function is called. */
  follow(follower: (entry: LifeEntry) => void): () => void {
    return this.#lifeLog.follow(follower);
  }

  get sidecars(): Sidecars {
    return this.#sidecars;
  }

  /** How many have not ended, sidecars included. */
  get size(): number {
    return this.#live.size + (this.#elsewhere?.size ?? 0);
  }

  /** Those that this server keeps and that have not ended, sidecars included, by what they are. */
  census(): readonly Census[] {
    const alike = Map.groupBy(this.#live.values(), ({ state, isolation }) => `${state} ${isolation}`);
    return [...alike.values()].flatMap((all) => {
      const [first] = all;
      return first ? [{ state: first.state, isolation: first.isolation, count: all.length }] : [];
    });
  }

  async create(
    spec: SandboxSpec,
    { idShape = 'v2', requestKey, tokenId, anywhere = false }: CreateOptions = {},
  ): Promise<Sandbox> {
    // Looked at before: from the look-up of the key to the row nothing may come between.
    const gpus = spec.gpu ? await this.#options.instances.gpus.list() : [];
    const warmUp = await this.#warmedUp(spec);
    const made = requestKey === undefined ? undefined : this.#repository.getByRequestKey(requestKey);
    if (made) return this.get(made.id);
    this.#countCreates(spec);
    const asked = { ...spec, ...(warmUp && { warmUp }) };
    const mayGo = anywhere && isAnyServers(asked) && !this.#waitsHere(asked);
    const memberId = mayGo ? this.#options.keepers?.choose() : undefined;
    return memberId === undefined
      ? this.#admit(asked, idShape, requestKey, { gpus, tokenId })
      : this.#admitElsewhere(asked, idShape, requestKey, { gpus, tokenId, memberId });
  }

  /** What it can begin from. Whatever is wrong with what was asked for is found when it is admitted. */
  async #warmedUp(spec: SandboxSpec): Promise<WarmedUp | undefined> {
    try {
      const key = this.#warmUpOf(spec, this.#options.images.getPlain(spec.imageId))?.key;
      const found = key === undefined ? undefined : this.#warmUps.find(key);
      if (key === undefined || !found) return undefined;
      await this.#options.instances
        .requireRestorable(found.checkpoint)
        .catch((error: unknown) => this.#warmUps.drop(found, error));
      return this.#warmUps.find(key);
    } catch {
      return undefined;
    }
  }

  #warmUpOf(spec: SandboxSpec, image: Image): WarmUp | undefined {
    const argv = warmUpCommand(image.config);
    if (!argv) return undefined;
    const env = imageEnvironment(image.config, this.#caEnvironment(spec));
    const runtime = this.#runtimeOf(spec);
    const { instances } = this.#options;
    if (!isAnybodys(spec, image) || !instances.takesCheckpoints(runtime))
      return { argv, env, key: undefined };
    const given = { limits: this.#limits(spec.resources), disk: this.#diskOf(spec, runtime) };
    return { argv, env, key: warmUpKey(image, { argv, env }, given) };
  }

  memorySnapshot(id: MemorySnapshotId): MemorySnapshot {
    return this.#memorySnapshots.get(id);
  }

  memorySnapshots(of?: SandboxId): readonly MemorySnapshot[] {
    return this.#memorySnapshots.list(of);
  }

  deleteMemorySnapshot(id: MemorySnapshotId): Promise<void> {
    return this.#memorySnapshots.delete(id);
  }

  async restore(id: MemorySnapshotId, options: RestoreOptions = {}): Promise<Sandbox> {
    const from = this.#memorySnapshots.row(id);
    await this.#options.instances.requireRestorable(id);
    const { requestKey, tokenId } = options;
    const made = requestKey === undefined ? undefined : this.#repository.getByRequestKey(requestKey);
    if (made) return this.get(made.id);
    this.#countCreates(from.spec);
    const spec = { ...from.spec, from: id, name: 'name' in options ? options.name : from.spec.name };
    return this.#admit(spec, sandboxIdShape(from.sandboxId), requestKey, { from, tokenId });
  }

  async rollBack(id: SandboxId, to: MemorySnapshotId, signal: AbortSignal): Promise<void> {
    const sandbox = this.get(id);
    const row = this.#memorySnapshots.row(to);
    const live = this.#live.get(id);
    if (!live) throw sandboxEnded(sandbox);
    if (row.sandboxId !== id) {
      throw new SkerryError(
        'conflict',
        `The snapshot '${to}' was taken of ${row.sandboxId}: restore it, or fork that one.`,
      );
    }
    if (this.#sidecars.list(sandbox, false).length > 0) {
      throw new SkerryError('conflict', 'The sandbox cannot go back, since it has sidecars: end them first.');
    }
    await this.#options.instances.requireRestorable(to);
    await live.rollBack(row, signal);
  }

  async fork(id: SandboxId, copies: readonly ForkCopy[], signal: AbortSignal): Promise<readonly Sandbox[]> {
    const { result } = this.get(id);
    const original = this.#live.get(id);
    if (!original) throw sandboxEnded({ id, result });
    // Before anything is made of it: a checkpoint takes time and room.
    this.#requireQuotas(copies[0]?.tokenId, original.spec, { times: copies.length });
    this.#countCreates(original.spec, copies.length);
    return this.#forks.make(original, copies, signal);
  }

  #admit(
    asked: SandboxSpec,
    idShape: SandboxIdShape,
    requestKey: string | undefined,
    parts: AdmissionParts = {},
  ): LiveSandbox {
    const { row, unsealed } = this.#insert(asked, idShape, requestKey, parts);
    const { images, instances } = this.#options;
    if (row.spec.warmUp) images.holdImage(row.taskId, row.spec.warmUp.image);
    const sandbox = this.#add(row, { plan: (slept) => this.#plan(row, unsealed, slept) });
    try {
      sandbox.admit(); // makes its directory, for which there may be no room
    } catch (error) {
      this.#live.delete(row.id);
      this.#liveByTask.delete(row.taskId);
      instances.gpus.release(row.taskId);
      this.#ledger.tell(`sandbox ${row.id}`, () => this.#repository.delete(row));
      throw error;
    }
    return sandbox;
  }

  /** Whether one like that waits for somebody on this server. */
  #waitsHere(spec: SandboxSpec): boolean {
    if (!this.#options.keepers) return false;
    try {
      const { shape, expects } = this.#warmShape(spec);
      return this.#options.instances.hasWarm(shape, expects);
    } catch {
      return false; // what is wrong with it is said when it is admitted
    }
  }

  /** Of one that another server begins with and keeps. */
  async #admitElsewhere(
    asked: SandboxSpec,
    idShape: SandboxIdShape,
    requestKey: string | undefined,
    parts: AdmissionParts & { readonly memberId: MemberId },
  ): Promise<Sandbox> {
    const { row } = this.#insert(asked, idShape, requestKey, parts);
    const sandbox = this.#fromRow(row);
    await this.#elsewhere?.begin(row, parts.memberId);
    return this.#live.get(row.id) ?? sandbox; // its server may be gone, and this one have it
  }

  /** The row of a new one, once nothing speaks against it. */
  #insert(
    asked: SandboxSpec,
    idShape: SandboxIdShape,
    requestKey: string | undefined,
    { gpus = [], from, tokenId = this.#ownerOf({ spec: asked })?.tokenId, memberId }: AdmissionParts,
  ): { readonly row: SandboxRow; readonly unsealed: Unsealed } {
    const { config, images, secrets, vault, instances, dataDir } = this.#options;
    if (this.#closing) throw new SkerryError('unavailable', 'The server is shutting down.');
    requireRoom(this.size, config.maxSandboxes);
    const spec = this.#withIdleAction(this.#withSealedHeaders(asked));
    this.#requireQuotas(tokenId, spec);
    const bounds = () => instances.boundsDisk(this.#runtimeOf(spec));
    checkDiskSize(spec.resources.diskMiB ?? 0, config, bounds, dataDir);
    const image = images.getPlain(spec.imageId);
    const id = newSandboxId(idShape);
    const taskId = newTaskId();
    const env = from
      ? this.#memorySnapshots.environment(from, id, taskId)
      : sandboxEnvironment({
          id: spec.sidecarOf?.sandboxId ?? id,
          taskId,
          image: image.config,
          caEnvironment: this.#caEnvironment(spec),
          secretEnv: secrets.resolve(spec.secretSources),
        });
    if (spec.memorySnapshots) this.#requireCheckpoints(spec, 'Snapshots of the memory (enable_snapshot)');
    for (const mountId of spec.mountIds) this.#options.mounts.files(mountId);
    this.#options.volumes.check(spec.volumes);
    checkBucketMounts(spec.buckets ?? [], spec.volumes, () => instances.mountsBuckets(this.#runtimeOf(spec)));
    const buckets = withKeys(spec.buckets ?? [], (sources) => secrets.resolve(sources));
    const createdAtMs = Math.max(this.#options.now(), this.#lastCreatedAtMs + 1);
    this.#lastCreatedAtMs = createdAtMs;
    const pool = this.#options.instances.gpus;
    if (spec.gpu) pool.claim(taskId, spec.gpu, this.#runtimeOf(spec), gpus);
    try {
      this.#repository.insert({
        id,
        taskId,
        spec,
        sealedEnv: sealJson(vault, env),
        sealedBuckets: buckets.length > 0 ? sealJson(vault, buckets, id) : undefined,
        createdAtMs,
        tokenId,
        memberId,
        requestKey,
      });
    } catch (error) {
      pool.release(taskId);
      if (!isUniqueViolation(error)) throw error;
      if (spec.sidecarOf) throw sidecarNameTaken(spec.sidecarOf.name);
      if (spec.name !== undefined && this.#repository.find(spec.appId, spec.name, false))
        throw nameTaken(spec.name);
      throw new SkerryError('already-exists', `A running sandbox already has the key '${spec.externalKey}'.`);
    }
    const row = this.#repository.get(id);
    if (!row) throw new Error(`sandbox ${id} vanished from the store`);
    return { row, unsealed: { image, env, buckets } };
  }

  /**
   * Begins with a sandbox that the server that leads has admitted, for this one to keep. Once.
   * @throws SkerryError `not-found` for one that is not this server's; `disk-full`
   */
  begin(id: SandboxId): void {
    if (this.#live.has(id)) return;
    const row = this.#repository.get(id);
    const { keepers } = this.#options;
    if (!row || !keepers || row.state === 'ended' || !isKeptBy(keepers, row))
      throw new SkerryError('not-found', `${id} is not for this server to keep.`);
    if (this.#closing) throw new SkerryError('unavailable', 'The server is shutting down.');
    const sandbox = this.#add(row, { plan: this.#planAgain(row) });
    try {
      sandbox.admit();
    } catch (error) {
      this.#live.delete(id);
      this.#liveByTask.delete(row.taskId);
      throw error;
    }
  }

  /** @see KeptElsewhere.heard */
  heard(entry: LifeEntry): void {
    this.#elsewhere?.heard(entry);
  }

  /** @see KeptElsewhere.hearAnew */
  hearAnew(member: MemberId): void {
    this.#elsewhere?.hearAnew(member);
  }

  /** Takes over what a server kept that is gone: from now on it is this one's, which leads. @throws what kept the engine from it; nothing is taken over then, and it can be tried again */
  async takeOver(member: MemberId): Promise<void> {
    const rows = this.#elsewhere?.takeBack(member) ?? [];
    await this.#recover(rows, (of) => of === member, member);
    this.#elsewhere?.forget(rows);
  }

  /** Removes what a server that is gone still made in its last moments, after it was taken over. */
  async clearAway(member: MemberId): Promise<void> {
    await this.#options.instances.adopt(new Set(), (of) => of === member);
  }

  /** Whether this server keeps it, and it has not ended. */
  keeps(id: string): boolean {
    return this.#live.has(id as SandboxId) || this.#liveByTask.has(id as TaskId); // any text may be looked up
  }

  /** How many a server keeps; this one where none is named. */
  keptBy(member?: MemberId): number {
    return member === undefined ? this.#live.size : (this.#elsewhere?.countOf(member) ?? 0);
  }

  /** Which server keeps one that has not ended; undefined: the one that leads, or nobody. */
  memberOf(id: string): MemberId | undefined {
    const known = this.#elsewhere?.memberOf(id as SandboxId); // any text may be looked up
    if (known !== undefined) return known;
    const row = this.#repository.get(id as SandboxId) ?? this.#repository.getByTask(id as TaskId); // likewise
    return row?.state === 'ended' ? undefined : row?.memberId;
  }

  /** What the sandboxes that were made with a token take. What has ended takes nothing, from the moment that its end is sure. */
  takenBy(tokenId: string): Taken {
    return this.#taken((sandbox) => sandbox.tokenId === tokenId);
  }

  /** Likewise of those in an environment. */
  takenIn(environmentId: EnvironmentId): Taken {
    return this.#taken(({ spec }) => spec.environmentId === environmentId);
  }

  #taken(counts: (sandbox: Pick<SandboxRow, 'tokenId' | 'spec'>) => boolean): Taken {
    const all = [...this.#live.values(), ...(this.#elsewhere?.all() ?? [])];
    const its = all.filter(
      (sandbox) => counts(sandbox) && sandbox.state !== 'stopping' && holdsName(sandbox),
    );
    return takenBy(its.map(({ spec, isAsleep }) => ({ takes: this.#takes(spec), isAsleep })));
  }

  /** @throws SkerryError `quota-exceeded` */
  #requireQuotas(
    tokenId: string | undefined,
    spec: SandboxSpec,
    { times = 1, ...except }: Partial<Taken> & { readonly times?: number } = {},
  ): void {
    const { quotasOf, environments } = this.#options;
    const require = (whose: Bound['whose'], quotas: Quotas = {}, used: () => Taken) => {
      if (Object.keys(quotas).length === 0) return;
      requireQuotas({ whose, quotas, used: used() }, times, { ...this.#takes(spec), ...except });
    };
    if (tokenId !== undefined) require('token', quotasOf?.(tokenId), () => this.takenBy(tokenId));
    const { environmentId } = spec;
    require('environment', environments?.of(environmentId), () => this.takenIn(environmentId));
  }

  /** @throws SkerryError `rate-limited` where its environment may have none made just now */
  #countCreates({ environmentId }: Pick<SandboxSpec, 'environmentId'>, count = 1): void {
    this.#options.environments?.countCreates(environmentId, count);
  }

  /** What it may take, as far as that is bounded. */
  #takes({ resources }: SandboxSpec): Taken {
    const { memoryMiB, milliCpu } = this.#limits(resources);
    const { sizeMiB: diskMiB } = diskSize(resources.diskMiB ?? 0, this.#options.config);
    return { sandboxes: 1, memoryMiB, milliCpu, diskMiB };
  }

  #withSealedHeaders({ secretHeaders, ...spec }: SandboxSpec): SandboxSpec {
    if (!secretHeaders) return spec;
    return { ...spec, network: withHeaders(spec.network, this.#sealHeaders(secretHeaders)) };
  }

  #sealHeaders(specs: readonly SecretHeaderSpec[]): string {
    const { secrets, vault } = this.#options;
    return sealHeaders(
      fillHeaders(specs, (sources) => secrets.resolve(sources)),
      vault,
    );
  }

  get(id: SandboxId): Sandbox {
    return main(this.#live.get(id) ?? this.#fromRow(this.#repository.get(id)), `Sandbox '${id}'`);
  }

  getByTask(id: TaskId): Sandbox {
    return main(this.#liveByTask.get(id) ?? this.#fromRow(this.#repository.getByTask(id)), `Task '${id}'`);
  }

  findByName(appId: AppId, name: string, includeEnded: boolean): Sandbox | undefined {
    const sandbox = this.#fromRow(this.#repository.find(appId, name, includeEnded));
    return sandbox && (includeEnded || holdsName(sandbox)) ? sandbox : undefined;
  }

  findByExternalKey(key: string): Sandbox | undefined {
    const id = this.#repository.liveIdByExternalKey(key);
    const sandbox = id && this.#live.get(id);
    return sandbox && holdsName(sandbox) ? sandbox : undefined;
  }

  list(filter: SandboxFilter): readonly Sandbox[] {
    const found = this.#repository.list(filter).flatMap((row) => this.#fromRow(row) ?? []);
    return filter.includeEnded ? found : found.filter(holdsName);
  }

  /** Where the time of the last starts went. */
  startups(): readonly StartupSummary[] {
    return this.#startups.summary();
  }

  /** Sandboxes that wait for whoever asks next. */
  warmKinds(): readonly WarmKind[] {
    return this.#options.instances.warm.kinds();
  }

  /**
   * Has so many of an image wait, as they are who ask for nothing more, and makes others when they are taken, for that long.
   * @throws SkerryError `not-found` (image), `unavailable` when none may wait, `invalid-argument` for more than may
   */
  async keepWarm(
    { imageId, network, runtime: asked }: Pick<SandboxSpec, 'imageId' | 'network' | 'runtime'>,
    wish: { readonly count: number; readonly forMs: number },
    signal: AbortSignal,
  ): Promise<Warmed> {
    const { shape, expects } = this.#warmShape({
      imageId,
      network,
      runtime: asked,
      resources: NOTHING_ASKED,
    });
    return this.#options.instances.keepWarm(shape, { expects, label: imageId }, wish, signal);
  }

  /** @throws SkerryError `not-found` (image) */
  #warmShape({
    imageId,
    network,
    runtime: asked,
    resources,
  }: Pick<SandboxSpec, 'imageId' | 'network' | 'runtime' | 'resources'>) {
    const { layers } = this.#options.images.getPlain(imageId);
    const runtime = this.#runtimeOf({ runtime: asked });
    const disk = this.#diskOf({ resources }, runtime);
    const shape = { layers, runtime, ...(disk && { disk }) };
    return { shape, expects: expectationOf(network, this.#limits(resources)) };
  }

  /**
   * After a start of the server, once: takes over what still lives and ends or starts again what does not. Returns when every sandbox and process can be
   * asked for; those whose agent has yet to answer make their callers wait.
   */
  async recover(): Promise<void> {
    const { keepers } = this.#options;
    const live = this.#repository.live();
    const rows = this.#elsewhere?.recover(live) ?? live;
    await this.#recover(rows, (of) => of === undefined || !isMemberId(of) || !keepers?.lives(of));
    this.#forks.endUnfinished(this.#live.values(), (step) => this.#ledger.tell(undefined, step));
  }

  /** @param of whose instances are nobody's if they are in no row */
  async #recover(rows: readonly SandboxRow[], of: IsLeft, goneMember?: MemberId): Promise<void> {
    const { instances, volumes, store, logger, now, bootId } = this.#options;
    await recoverSandboxes({
      ...{ rows, of, instances, volumes, logger, now, bootId },
      ...(goneMember && { goneMember }),
      repository: this.#repository,
      settings: store.settings,
      ledger: this.#ledger,
      add: (row, left) => {
        if (left) instances.gpus.recall(row.taskId, left.devices, left.id);
        return this.#add(row, { plan: this.#planAgain(row), left });
      },
    });
  }

  /** How one that an earlier server admitted is started, or gone on with. */
  #planAgain(row: SandboxRow): (slept: Sleep | undefined) => Promise<LaunchPlan> {
    return async (slept) => {
      const sealed = this.#sealed(row);
      await this.#ownerOf(row)?.waitUntilRunning(new AbortController().signal);
      return this.#plan(row, sealed, slept);
    };
  }

  /**
   * Stops taking new ones and lets go of the rest, which go on running. Starts under way get a moment to finish; the next server begins the others
   * anew.
   */
  async close(): Promise<void> {
    this.#closing = true;
    await withDeadline(this.#starts.idle(), CLOSE_PATIENCE_MS);
    for (const sandbox of this.#live.values()) sandbox.detach();
    this.#ledger.close();
  }

  /** Removes the output of sandboxes that ended longer ago than it is kept, and snapshots that have expired. Called on a timer. */
  sweep(): void {
    this.#memorySnapshots.sweep();
    this.#sweep.run(this.#options.now() - this.#options.config.keepOutputHours * HOUR_MS);
  }

  #add(row: SandboxRow, parts: Omit<SandboxParts, 'owner'>): LiveSandbox {
    const sandbox = new LiveSandbox(this.#context, row, { ...parts, owner: this.#ownerOf(row) });
    this.#live.set(sandbox.id, sandbox);
    this.#liveByTask.set(sandbox.taskId, sandbox);
    return sandbox;
  }

  /** One that has not ended is known, or another server's; everything else that is in the store has. */
  #fromRow(row: SandboxRow): Sandbox;
  #fromRow(row: SandboxRow | undefined): Sandbox | undefined;
  #fromRow(row: SandboxRow | undefined): Sandbox | undefined {
    return (
      row && (this.#live.get(row.id) ?? this.#fromElsewhere(row) ?? new EndedSandbox(this.#context, row))
    );
  }

  #fromElsewhere(row: SandboxRow): Sandbox | undefined {
    const { keepers } = this.#options;
    if (row.state === 'ended' || !keepers) return undefined;
    if (keepers.self !== undefined && row.memberId === keepers.self) {
      this.begin(row.id); // whoever asks for it knows of it before this server was told
      return this.#live.get(row.id);
    }
    if (row.memberId === undefined && keepers.self === undefined) return undefined;
    return new SandboxElsewhere({
      row,
      keeper: keepers.keeper(row.memberId),
      isolation: this.#isolationOf(row),
      outputDir: join(this.#context.outputRoot, row.taskId),
      events: () => this.#repository.events(row.taskId),
    });
  }

  #isolationOf({ spec, taskId }: Pick<SandboxRow, 'spec' | 'taskId'>): Isolation | undefined {
    try {
      return this.#options.instances.isolationFor(this.#runtimeOf(spec), taskId);
    } catch {
      return undefined; // its start fails for the same reason and says so
    }
  }

  /** The sandbox of a sidecar that has not ended. */
  #ownerOf({ spec }: Pick<SandboxRow, 'spec'>): LiveSandbox | undefined {
    if (!spec.sidecarOf) return undefined;
    const owner = this.#live.get(spec.sidecarOf.sandboxId);
    if (!owner) throw new Error(`the sandbox ${spec.sidecarOf.sandboxId} ended before its sidecar`);
    return owner;
  }

  #sealed(row: SandboxRow): Unsealed {
    if (!row.sealedEnv) throw new Error(`sandbox ${row.id} has no environment`);
    const { vault } = this.#options;
    const env = openJson<Record<string, string>>(vault, row.sealedEnv);
    const buckets = row.sealedBuckets ? openJson<InstanceBucket[]>(vault, row.sealedBuckets, row.id) : [];
    return {
      env,
      image: this.#options.images.getUsed(row.spec.imageId),
      buckets,
    };
  }

  async #plan(
    { spec, taskId }: SandboxRow,
    { image, env, buckets }: Unsealed,
    slept: Sleep | undefined,
  ): Promise<LaunchPlan> {
    const { instances, images } = this.#options;
    const pool = instances.gpus;
    const runtime = slept ? 'gvisor' : this.#runtimeOf(spec);
    const began = slept ?? spec.warmUp;
    const rootImage = began
      ? images.getUsed(began.image)
      : await imageWithMounts(taskId, spec.mountIds, image, this.#options);
    const warmUp = slept || spec.from ? undefined : this.#warmUpOf(spec, image);
    const disk = this.#diskOf(spec, runtime);
    const args = spec.args.length > 0 ? spec.args : image.config.cmd;
    return {
      image: rootImage,
      from: spec.from,
      // What it begins from is there, or broken: it keeps none of its own.
      warmUp: warmUp && { ...warmUp, from: spec.warmUp, ...(spec.warmUp && { key: undefined }) },
      argv: spec.noEntrypoint ? [] : [...image.config.entrypoint, ...args],
      env,
      joins: spec.sidecarOf && this.#instanceOf(spec.sidecarOf.sandboxId),
      workdir: spec.workdir ?? image.config.workdir,
      user: image.config.user,
      runtime,
      // Claimed when it was admitted; anew by a server that finds it without an instance.
      gpus: spec.gpu && pool.claim(taskId, spec.gpu, runtime, await pool.list()),
      limits: slept ? slept.limits : this.#limits(spec.resources),
      buckets,
      disk: slept ? diskAfter(disk, slept) : disk,
    };
  }

  /** @throws SkerryError `unimplemented`, saying what it needs */
  #requireCheckpoints(spec: SandboxSpec, what: string): void {
    const why = this.#whyNoCheckpoints(spec);
    if (why) throw new SkerryError('unimplemented', `${what}: ${why}.`);
  }

  #whyNoCheckpoints(spec: SandboxSpec): string | undefined {
    if (spec.gpu) return 'no sandbox with a GPU can have one';
    if ((spec.buckets ?? []).length > 0) return 'no sandbox with buckets can have one';
    return this.#options.instances.takesCheckpoints(this.#runtimeOf(spec))
      ? undefined
      : 'it needs gVisor, and this sandbox would run under runc';
  }

  /** With what becomes of it when it is idle, where its caller left that to the server. @throws SkerryError `unimplemented`, saying what it needs */
  #withIdleAction(spec: SandboxSpec): SandboxSpec {
    if (spec.idleAction === 'suspend')
      this.#requireCheckpoints(spec, 'Suspending an idle sandbox (idleAction)');
    if (spec.idleAction || this.#options.config.idleAction === 'end') return spec;
    if (spec.idleTimeoutMs === undefined || this.#whyNoCheckpoints(spec)) return spec;
    return { ...spec, idleAction: 'suspend-or-end' };
  }

  /** Variables by which its programs know whom to trust. */
  #caEnvironment({ network }: Pick<SandboxSpec, 'network'>): Readonly<Record<string, string>> {
    const { caEnvironment, headerEnvironment } = this.#options;
    return network.headers === undefined ? caEnvironment : headerEnvironment;
  }

  #diskOf({ resources }: Pick<SandboxSpec, 'resources'>, runtime: RuntimeChoice): DiskSize | undefined {
    const { instances, config } = this.#options;
    return instances.boundsDisk(runtime) ? diskSize(resources.diskMiB ?? 0, config) : undefined;
  }

  #runtimeOf({ runtime }: Pick<SandboxSpec, 'runtime'>): RuntimeChoice {
    return runtime ?? this.#options.config.runtime;
  }

  /** @throws SkerryError `sandbox-ended` */
  #instanceOf(id: SandboxId): InstanceId {
    const instance = this.#live.get(id)?.instance;
    if (instance) return instance;
    throw sandboxEnded({ id, result: undefined });
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

/** @throws SkerryError `not-found`, also for a sidecar: it is found through its sandbox only */
function main(sandbox: Sandbox | undefined, what: string): Sandbox {
  if (!sandbox || sandbox.spec.sidecarOf) throw new SkerryError('not-found', `${what} not found.`);
  return sandbox;
}
