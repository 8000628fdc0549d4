/** A sandbox that has not ended, or ended under this server: its life, its processes, and what can be asked of it. */
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { settleFiles } from '../agent/settle-files.ts';
import {
  describeEvent,
  type Fifo,
  type Instance,
  type Isolation,
  isAudited,
  type NetworkPolicy,
} from '../engines/engine.ts';
import type { SkerryError } from '../errors/skerry-error.ts';
import type { InstanceId, LayerId, MemorySnapshotId, ProcessId, SandboxId, TaskId } from '../ids.ts';
import {
  emptyImageConfig,
  type Image,
  type Images,
  type MountContent,
  type SnapshotOptions,
} from '../images/image.ts';
import type { InstanceService } from '../instances/instance-service.ts';
import type { FaultPoint } from '../platform/fault-points.ts';
import type { Ledger } from '../platform/ledger.ts';
import { Limiter } from '../platform/limiter.ts';
import { unlessAborted, withDeadline } from '../platform/wait.ts';
import type { Counts } from '../telemetry/counts.ts';
import type { Logger } from '../telemetry/logger.ts';
import { currentCall, type Part, timed } from '../telemetry/tracing.ts';
import type { VolumeMounts } from '../volumes/volume-mounts.ts';
import { ComingOutput } from './coming-output.ts';
import { execRequest } from './exec-request.ts';
import { type ExitSnapshot, lostExitSnapshot } from './exit-snapshot.ts';
import {
  fromStored,
  instanceOf,
  isAsleep,
  type Life,
  type LifeEvent,
  resultOf,
  type StoredLife,
  sleptOf,
} from './life.ts';
import { LifeKeeper } from './life-keeper.ts';
import type { Entry, LifeLog } from './life-log.ts';
import type { MemorySnapshotRow, MemorySnapshots } from './memory-snapshots.ts';
import { OutputBudget } from './output-budget.ts';
import { checkPort, PortConnections } from './port-connections.ts';
import {
  isUniqueViolation,
  type ProcessRepository,
  type SandboxRepository,
  type SandboxRow,
} from './repositories.ts';
import { describeResult } from './result-text.ts';
import {
  alreadyNamed,
  endedConflict,
  inUse,
  labelOf,
  nameTaken,
  noCheckpoints,
  noProbe,
  noProcess,
  noSecretHeaders,
  notForSnapshots,
  notReadyWithin,
  sandboxEnded,
} from './sandbox-errors.ts';
import { SandboxProcesses } from './sandbox-processes.ts';
import type { MountedImage, OutputReader, Process, Sandbox, SandboxLogEntry, Usage } from './sandboxes.ts';
import { withHeaders } from './secret-headers.ts';
import type { Sleep, Sleeps } from './sleep.ts';
import type { ExecSpec, SandboxSpec, SecretHeaderSpec } from './spec.ts';
import type { Startup, Startups } from './startups.ts';
import type { SandboxResult, SandboxState } from './state.ts';
import { Tenancy } from './tenancy.ts';
import type { LaunchPlan, Tenant } from './tenant.ts';
import type { WarmUps } from './warm-ups.ts';

/** What a sandbox needs of its surroundings; the service provides it. */
export interface SandboxContext {
  readonly instances: InstanceService;
  readonly images: Images;
  readonly volumes: VolumeMounts;
  readonly memorySnapshots: Pick<MemorySnapshots, 'take' | 'takeForFork'>;
  readonly warmUps: Pick<WarmUps, 'keep' | 'drop'>;
  readonly sleeps: Sleeps;
  readonly sandboxes: SandboxRepository;
  readonly processes: ProcessRepository;
  /** Takes what happened, for the store. */
  readonly ledger: Ledger;
  readonly lifeLog: LifeLog;
  readonly counts: Counts;
  /** Takes where the time of its start went. */
  readonly startups: Startups;
  /** Directory with one folder of output files per task. */
  readonly outputRoot: string;
  readonly maxOutputBytes: number;
  /** How long a program may take that is told that it must end. */
  readonly stopGraceMs: number;
  readonly logger: Logger;
  readonly now: () => number;
  readonly faultPoint: FaultPoint;
  /** The merged variables of an exec's sources. */
  readonly resolveSecrets: (sources: ExecSpec['secretSources']) => Record<string, string>;
  /** With the values of their secrets, as a policy has them. */
  readonly sealHeaders: (specs: readonly SecretHeaderSpec[]) => string;
  /** @see TenancyParts.queue */
  readonly queue: (turn: () => Promise<void>) => void;
  /** Whether one that is asleep may wake. @throws SkerryError `quota-exceeded` */
  readonly requireRoomToWake: (sandbox: LiveSandbox) => void;
  /** Ends what depends on a sandbox, before its instance is taken away. */
  readonly endDependents: (sandbox: LiveSandbox) => Promise<void>;
  /** Its end is in the store: from now on it can be read from there. */
  readonly onEndStored: (sandbox: LiveSandbox) => void;
}

/** What this one has of its own. */
export interface SandboxParts {
  /** @param slept what it goes on from, if it slept */
  readonly plan: (slept: Sleep | undefined) => Promise<LaunchPlan>;
  /** What an earlier server left running of it. */
  readonly left?: Instance | undefined;
  /** The sandbox it is a sidecar of, whose idle clock its activity counts for, and whose end is its own. */
  readonly owner?: Pick<Sandbox, 'touch' | 'hold' | 'wait'> | undefined;
}

export class LiveSandbox implements Sandbox {
  readonly id: SandboxId;
  readonly taskId: TaskId;
  readonly spec: SandboxSpec;
  readonly createdAtMs: number;
  /** The token that it counts for, if one is known. */
  readonly tokenId: string | undefined;
  readonly #context: SandboxContext;
  readonly #owner: SandboxParts['owner'];
  readonly #keeper: LifeKeeper;
  readonly #tenancy: Tenancy;
  #startup: Startup | undefined;
  /** The one that made it, until it has started. */
  #call = currentCall();
  readonly #processes: SandboxProcesses;
  readonly #ports = new PortConnections(() => this.hold());
  readonly #outputDir: string;
  readonly #ended = new AbortController();
  /** Entries of its log that the store has not taken yet. */
  readonly #unstored: Entry[] = [];
  /** Who waits until it has. */
  readonly #onStored: (() => void)[] = [];
  readonly #mountChanges = new Limiter(1);
  readonly #policyChanges = new Limiter(1);
  #name: string | undefined;
  #tags: Readonly<Record<string, string>>;
  #exitSnapshot: ExitSnapshot | undefined;

  constructor(context: SandboxContext, row: SandboxRow, parts: SandboxParts) {
    this.#context = context;
    this.#owner = parts.owner;
    this.id = row.id;
    this.taskId = row.taskId;
    this.spec = row.spec;
    this.createdAtMs = row.createdAtMs;
    this.tokenId = row.tokenId;
    this.#name = row.name ?? row.spec.sidecarOf?.name;
    this.#tags = row.tags;
    this.#exitSnapshot = row.exitSnapshot;
    this.#outputDir = join(context.outputRoot, row.taskId);
    const { instances, logger, now, ledger, faultPoint, queue, endDependents } = context;
    const ended = this.#ended.signal;
    this.#processes = new SandboxProcesses({
      taskId: row.taskId,
      outputDir: this.#outputDir,
      budget: new OutputBudget(context.maxOutputBytes, ended, (reason) =>
        this.#log('limit', this.#outputStopped(reason)),
      ),
      repository: context.processes,
      ...{ ledger, logger, now, ended, counts: context.counts },
      onActivity: () => this.touch(),
      onKilled: () => void this.#noteOomKills(),
      hold: () => this.hold(),
      onNeeded: () => this.#need(),
    });
    this.#keeper = new LifeKeeper(fromStored(row), {
      ...{ now, faultPoint },
      store: (life, entry) => this.#store(life, entry),
      perform: (effect, life) => {
        if (effect === 'settle') this.#settle(life);
        this.#tenancy.perform(effect, life);
      },
    });
    this.#tenancy = new Tenancy({
      ...{ id: row.id, taskId: row.taskId, spec: row.spec },
      ...{ instances, images: context.images, volumes: context.volumes, logger, now, queue, ended },
      processes: this.#processes,
      ports: this.#ports,
      plan: parts.plan,
      warmUps: context.warmUps,
      sleeps: context.sleeps,
      stored: () => this.#stored(),
      left: parts.left,
      life: () => this.#keeper.life,
      marks: () => ({ sandbox: this.id, app: this.spec.appId, name: this.#name, tags: this.#tags }),
      tell: (event) => this.#keeper.tell(event),
      forgetOutput: () => this.#emptyOutput(),
      endDependents: () => endDependents(this),
      stopGraceMs: () => this.#stopGraceMs(),
      keepExitSnapshot: (taken) => this.#keepExitSnapshot(taken),
      noteStartup: (startup, parts) => this.#noteStartup(startup, parts),
      keepNetworkEvent: (event) => this.#log('network', describeEvent(event), event.timeMs),
    });
  }

  get isolation(): Isolation | undefined {
    if (this.state === 'ended') return undefined;
    const { tenant } = this.#tenancy;
    if (tenant) return tenant.instance.isolation;
    try {
      return this.#context.instances.isolationFor(this.spec.runtime ?? 'auto', this.taskId);
    } catch {
      return undefined; // its start fails for the same reason and says so
    }
  }
  get startup(): Startup | undefined {
    return this.#startup;
  }
  async usage(): Promise<Usage | undefined> {
    const stats = await this.#tenancy.tenant?.instance.stats().catch(() => undefined); // it may be gone
    if (!stats) return undefined;
    const { memoryBytes, cpuUsageNs, pids, traffic } = stats;
    return { memoryBytes, cpuMs: cpuUsageNs / 1e6, processes: pids, traffic, ports: this.#ports.traffic };
  }
  get name() {
    return this.#name;
  }
  get tags() {
    return this.#tags;
  }
  get startedAtMs() {
    return 'startedAtMs' in this.#life ? this.#life.startedAtMs : undefined;
  }
  get endedAtMs() {
    return this.#life.state === 'ended' ? this.#life.endedAtMs : undefined;
  }
  get readyAtMs() {
    return 'readyAtMs' in this.#life ? this.#life.readyAtMs : undefined;
  }
  get deadlineMs() {
    const deadlineMs = 'deadlineMs' in this.#life ? this.#life.deadlineMs : undefined;
    return deadlineMs ?? this.createdAtMs + this.spec.timeoutMs;
  }
  get state(): SandboxState {
    return this.#life.state;
  }
  /** Nothing of it is on the machine but files, and it is not about to wake. */
  get isAsleep(): boolean {
    return isAsleep(this.#life);
  }
  get exitSnapshot(): ExitSnapshot | undefined {
    if (this.state !== 'ended' || !this.spec.exitSnapshot) return undefined;
    return this.#exitSnapshot ?? lostExitSnapshot;
  }
  get result(): SandboxResult | undefined {
    return this.#life.state === 'ended' ? this.#life.result : undefined;
  }
  /** What it runs in, if there is anything. */
  get instance(): InstanceId | undefined {
    return instanceOf(this.#life);
  }
  get entrypoint(): Process | undefined {
    return this.#processes.entrypoint;
  }
  get stdout(): OutputReader {
    return this.#entrypointStream('stdout');
  }
  get stderr(): OutputReader {
    return this.#entrypointStream('stderr');
  }

  // Life

  /** Begins its life. @throws when there is no room for its directory; it has then not begun */
  admit(): void {
    mkdirSync(this.#outputDir, { recursive: true, mode: 0o700 });
    this.#keeper.tell({ kind: 'admitted' });
  }

  /** Goes on with its life under another server. */
  tell(event: Extract<LifeEvent, { kind: 'found' }>): void {
    this.#keeper.tell(event);
  }

  async waitUntilRunning(signal: AbortSignal): Promise<void> {
    await this.#until((life) => isRunning(life) ?? isSuspended(life), signal);
  }

  async waitUntilAwake(signal: AbortSignal): Promise<void> {
    this.#need();
    await this.#until((life) => (isSuspending(life) ? undefined : isRunning(life)), signal);
  }

  async suspend(signal: AbortSignal): Promise<void> {
    if (this.state === 'suspended') return;
    await this.waitUntilAwake(signal);
    if (this.#processes.busy || this.#ports.open > 0) throw inUse();
    this.#keeper.tell({ kind: 'suspend' });
    let slept = false;
    await this.#until((life) => {
      slept ||= life.state === 'suspended';
      if (life.state === 'suspended') return life.activity !== 'leaving' || undefined;
      if (!isRunning(life) || isSuspending(life)) return undefined;
      if (!slept) throw this.#tenancy.suspendFailure;
      return true; // and awake again
    }, signal);
  }

  async wait(timeoutMs: number, signal: AbortSignal): Promise<SandboxResult | undefined> {
    if (this.state !== 'ended' && timeoutMs > 0) await this.#within(timeoutMs, signal, isEnded);
    // From its first moment on the end is sure, however long it takes to clear away: every call says the same.
    return resultOf(this.#life);
  }

  async waitUntilReady(timeoutMs: number, signal: AbortSignal): Promise<number> {
    if (!this.spec.readinessProbe) throw noProbe();
    const readyAtMs = await this.#within(timeoutMs, signal, (life) => {
      if ('readyAtMs' in life && life.readyAtMs !== undefined) return life.readyAtMs;
      if (life.state === 'ended') throw endedConflict(this.#endedError());
      return undefined;
    });
    if (readyAtMs === undefined) throw notReadyWithin(timeoutMs);
    return readyAtMs;
  }

  async terminate(): Promise<void> {
    this.#keeper.tell({ kind: 'end', result: { kind: 'terminated' } });
    if (this.#keeper.detached) return;
    // The snapshot of its end may take long, and nothing keeps it from being taken any more.
    await this.#keeper.until((life) => (this.spec.exitSnapshot ? resultOf(life) : isEnded(life)));
  }

  /** Lets go of the instance, which goes on (the server shuts down). */
  detach(): void {
    this.#keeper.detach();
    this.#tenancy.clocks.stop();
    this.#processes.detach();
  }

  // Processes

  async exec(id: ProcessId, spec: ExecSpec, signal: AbortSignal): Promise<Process> {
    // After a restart of the server the agent first has to tell which processes there are.
    if (this.state === 'running') await this.waitUntilRunning(signal);
    const askedAtMs = this.#context.now();
    const starting = this.#processes.startOnce(id, () => this.#execRequest(id, spec, askedAtMs), spec);
    return unlessAborted(starting, signal).catch((error: unknown) => {
      throw this.#ended.signal.aborted ? this.#endedError() : error;
    });
  }

  async connect(port: number, signal: AbortSignal): Promise<Duplex> {
    checkPort(port);
    const ended = this.#ended.signal;
    const { agent } = await this.#whileRunning(signal);
    return this.#ports.connect(agent, port, AbortSignal.any([signal, ended])).catch((error: unknown) => {
      throw ended.aborted || resultOf(this.#life) ? this.#endedError() : error;
    });
  }

  process(id: ProcessId): Process {
    const process = this.#processes.get(id);
    if (!process) throw noProcess(this, id);
    return process;
  }

  processes(): readonly Process[] {
    return this.#processes.execs;
  }

  // What can be changed

  setName(name: string): void {
    if (this.#name === name) return;
    if (this.#name !== undefined) throw alreadyNamed(this.#name);
    if (resultOf(this.#life)) throw endedConflict(this.#endedError());
    try {
      this.#context.sandboxes.setName(this.id, name);
    } catch (error) {
      if (isUniqueViolation(error)) throw nameTaken(name);
      throw error;
    }
    this.#name = name;
    void this.#tenancy.remark();
  }

  setTags(tags: Readonly<Record<string, string>>): void {
    this.#context.sandboxes.setTags(this.id, tags);
    this.#tags = tags;
    void this.#tenancy.remark();
  }

  async setNetworkPolicy(policy: NetworkPolicy): Promise<void> {
    const wanted = isAudited(this.spec.network) ? { ...policy, audited: true } : policy;
    await this.#changePolicy(({ headers }) => withHeaders(wanted, headers));
  }

  async setSecretHeaders(specs: readonly SecretHeaderSpec[]): Promise<void> {
    if (this.spec.network.headers === undefined) throw noSecretHeaders(this);
    const headers = this.#context.sealHeaders(specs);
    await this.#changePolicy((policy) => withHeaders(policy, headers));
  }

  /** One change after the other: each leaves what it is not about as it is. */
  #changePolicy(change: (policy: NetworkPolicy) => NetworkPolicy): Promise<void> {
    return this.#policyChanges.run(async () => {
      const { instance } = await this.#whileRunning(this.#ended.signal);
      const release = this.hold();
      try {
        await instance.setNetworkPolicy(change(instance.networkPolicy));
      } finally {
        release();
      }
    });
  }

  async reloadVolumes(signal: AbortSignal): Promise<void> {
    await this.#whileRunning(signal);
    const release = this.hold();
    try {
      await unlessAborted(this.#context.volumes.reload(this.taskId), signal);
    } finally {
      release();
    }
  }

  snapshotFilesystem(options: SnapshotOptions, signal: AbortSignal): Promise<Image> {
    return this.#snapshot(
      options,
      signal,
      ({ plan }) => plan.image,
      ({ instance }, ref, settle) => instance.commit(ref, { move: false, settle }),
    );
  }

  snapshotDirectory(path: string, options: SnapshotOptions, signal: AbortSignal): Promise<Image> {
    if (/^\/+$/.test(path)) return this.snapshotFilesystem(options, signal);
    // Nothing of the sandbox's image is below it.
    const parent = ({ plan }: Tenant) => ({
      ...plan.image,
      layers: [],
      snapshots: 0,
      config: emptyImageConfig,
    });
    return this.#snapshot(options, signal, parent, ({ instance }, ref, settle) =>
      instance.commitDirectory(path, ref, { settle }),
    );
  }

  async snapshotMemory(signal: AbortSignal): Promise<MemorySnapshotId> {
    if (!this.spec.memorySnapshots) throw notForSnapshots();
    return this.keepMemory(signal);
  }

  keepMemory(signal: AbortSignal): Promise<MemorySnapshotId> {
    return this.#remember(signal, (tenant, settle) =>
      this.#context.memorySnapshots.take(this, tenant, settle),
    );
  }

  /** Likewise for copies that begin at once. */
  snapshotForFork(signal: AbortSignal): Promise<MemorySnapshotRow> {
    return this.#remember(signal, (tenant, settle) =>
      this.#context.memorySnapshots.takeForFork(this, tenant, settle),
    );
  }

  /** @see Sandboxes.rollBack */
  async rollBack(to: MemorySnapshotRow, signal: AbortSignal): Promise<void> {
    const tenant = await this.#whileRunning(signal);
    const { sleeps, faultPoint } = this.#context;
    const slept = await sleeps.backTo(to, this, tenant, sleptOf(this.#life));
    faultPoint('rollback.prepared');
    try {
      this.#tenancy.rollBack(slept);
    } catch (error) {
      await sleeps.forget(slept);
      throw error;
    }
    this.#log('life', `It goes back to ${to.id}.`);
    await this.waitUntilAwake(signal);
  }

  mountImage(path: string, { imageId, encryptionKey }: MountedImage, signal: AbortSignal): Promise<void> {
    const { images } = this.#context;
    return this.#changingMounts(signal, (instance) => {
      const { layers, needed, fill } =
        imageId === undefined ? NOTHING : images.contentOf(imageId, encryptionKey);
      // Before anything else can happen: from now on they stay, whatever becomes of the image.
      images.holdLayers(this.taskId, [...instance.mountedLayers, ...needed]);
      return instance.mount(path, layers, fill);
    });
  }

  unmountImage(path: string, signal: AbortSignal): Promise<void> {
    return this.#changingMounts(signal, (instance) => instance.unmount(path));
  }

  events(): readonly SandboxLogEntry[] {
    return this.#context.sandboxes.events(this.taskId);
  }

  logVerbose(kind: SandboxLogEntry['kind'], text: string): void {
    if (this.spec.verbose) this.#log(kind, text);
  }

  touch(): void {
    (this.#owner ?? this.#tenancy.clocks.idle)?.touch();
  }

  hold(): () => void {
    return (this.#owner ?? this.#tenancy.clocks.idle)?.hold() ?? (() => {});
  }

  // Inside

  get #life(): Life {
    return this.#keeper.life;
  }

  /** Has it wake, if it is asleep. @throws SkerryError `quota-exceeded` */
  #need(): void {
    if (this.isAsleep) this.#context.requireRoomToWake(this);
    this.#keeper.tell({ kind: 'needed' });
  }

  /** What `pick` gives within that time, or undefined. */
  async #within<T>(
    timeoutMs: number,
    signal: AbortSignal,
    pick: (life: Life) => T | undefined,
  ): Promise<T | undefined> {
    const over = new AbortController();
    const found = this.#keeper.until(pick, AbortSignal.any([signal, over.signal]));
    try {
      return await withDeadline(found, timeoutMs, signal);
    } finally {
      over.abort();
    }
  }

  /** @throws SkerryError `sandbox-ended` */
  #until<T>(pick: (life: Life) => T | undefined, signal: AbortSignal): Promise<T> {
    return this.#keeper.until((life) => {
      if (life.state === 'ended') throw this.#endedError();
      return pick(life);
    }, signal);
  }

  /** Its parts, once it runs: one that is suspended wakes. @throws SkerryError `sandbox-ended` */
  async #whileRunning(signal: AbortSignal): Promise<Tenant> {
    await this.waitUntilAwake(signal);
    const { tenant } = this.#tenancy;
    if (!tenant) throw this.#endedError();
    return tenant;
  }

  async #execRequest(id: ProcessId, spec: ExecSpec, askedAtMs: number) {
    if (resultOf(this.#life)) throw this.#endedError();
    const { agent, plan } = await timed('sandbox.awake', () => this.#whileRunning(this.#ended.signal));
    const own = this.#context.resolveSecrets(spec.secretSources);
    const { now, maxOutputBytes } = this.#context;
    const { request, isFileTool } = execRequest(id, spec, plan, own, now() - askedAtMs, maxOutputBytes);
    if (!isFileTool) this.logVerbose('exec', `Sandbox exec started: ${spec.argv.join(' ')}`);
    return { agent, request };
  }

  /** An edge of its life: row and entry go into the store together, whenever that takes them. */
  #store(life: StoredLife, entry: Entry): void {
    const { sandboxes, ledger, lifeLog, onEndStored } = this.#context;
    this.#unstored.push(entry);
    ledger.tell(
      `sandbox ${this.id}`,
      () => sandboxes.update(this, life, this.#unstored),
      () => {
        this.#unstored.length = 0;
        for (const resolve of this.#onStored.splice(0)) resolve();
        if (life.state === 'ended') onEndStored(this);
      },
    );
    const { sidecarOf } = this.spec;
    lifeLog.append({
      ...{ ...entry, sandboxId: this.id, taskId: this.taskId, instance: life.instance },
      sidecarOf: sidecarOf?.sandboxId,
    });
  }

  #stored(): Promise<void> {
    if (this.#unstored.length === 0) return Promise.resolve();
    return new Promise((resolve) => this.#onStored.push(resolve));
  }

  #noteStartup(startup: Omit<Startup, 'ms'>, parts: readonly Part[]): void {
    const { logger, now, startups } = this.#context;
    const ms = now() - this.createdAtMs;
    this.#startup = { ...startup, ms };
    this.#call?.tell({ name: 'sandbox.start', startedAtMs: this.createdAtMs, ms }, parts);
    this.#call = undefined;
    startups.add(this.#startup);
    logger.info({ sandbox: this.id, ...this.#startup }, 'sandbox.started');
  }

  #keepExitSnapshot(taken: ExitSnapshot): void {
    this.#exitSnapshot = taken;
    const { sandboxes, ledger } = this.#context;
    ledger.tell(`exit snapshot ${this.id}`, () => sandboxes.setExitSnapshot(this.id, taken));
  }

  /** None unless somebody terminates it, or the sandbox that it is a sidecar of: what a clock ends has had its time. */
  async #stopGraceMs(): Promise<number> {
    const results = [resultOf(this.#life), await this.#owner?.wait(0, this.#ended.signal)];
    const isAsked = results.every((result) => result === undefined || result.kind === 'terminated');
    return isAsked ? this.#context.stopGraceMs : 0;
  }

  #settle(life: Life): void {
    this.#ended.abort(this.#endedError());
    const result = resultOf(life);
    if (result && result.kind !== 'exited' && result.kind !== 'terminated') {
      this.#log('life', describeResult(result));
    }
  }

  async #noteOomKills(): Promise<void> {
    const { tenant, clocks } = this.#tenancy;
    if (tenant && this.entrypoint?.exit === undefined) await clocks.noteOomKills(tenant);
  }

  /** Has `take` keep its memory; its clocks stand still meanwhile. */
  async #remember<T>(
    signal: AbortSignal,
    take: (tenant: Tenant, settle: () => Promise<readonly Fifo[]>) => Promise<T>,
  ): Promise<T> {
    const tenant = await this.#whileRunning(signal);
    const { instance, agent } = tenant;
    if (!this.#context.instances.takesCheckpoints(instance.runtime)) throw noCheckpoints(instance);
    const release = this.hold();
    const resumed = this.#tenancy.clocks.pausing();
    try {
      await agent.require('checkpoint', signal);
      return await take(tenant, () => settleFiles(instance, agent, signal));
    } finally {
      resumed();
      release();
    }
  }

  async #snapshot(
    options: SnapshotOptions,
    signal: AbortSignal,
    parentOf: (tenant: Tenant) => Image,
    take: (tenant: Tenant, layer: LayerId, settle: () => Promise<readonly Fifo[]>) => Promise<void>,
  ): Promise<Image> {
    const tenant = await this.#whileRunning(signal);
    const { instance, agent } = tenant;
    const release = this.hold();
    const resumed = this.#tenancy.clocks.pausing();
    try {
      const settle = () => settleFiles(instance, agent, signal);
      return await this.#context.images.addLayer(
        parentOf(tenant),
        ({ ref }) => take(tenant, ref, settle),
        options,
      );
    } finally {
      resumed();
      release();
    }
  }

  /** One after the other: what is held must be what is mounted. */
  async #changingMounts(signal: AbortSignal, change: (instance: Instance) => Promise<void>): Promise<void> {
    const { instance } = await this.#whileRunning(signal);
    const release = this.hold();
    try {
      await this.#mountChanges.run(async () => {
        try {
          await change(instance);
        } finally {
          this.#context.images.holdLayers(this.taskId, instance.mountedLayers);
        }
      });
    } finally {
      release();
    }
  }

  #emptyOutput(): void {
    rmSync(this.#outputDir, { recursive: true, force: true });
    mkdirSync(this.#outputDir, { recursive: true, mode: 0o700 });
  }

  #outputStopped(reason: 'bound' | 'disk-full'): string {
    return reason === 'bound'
      ? `Output reached the bound of ${Math.round(this.#context.maxOutputBytes / 2 ** 20)} MiB per sandbox; programs that write more wait.`
      : 'The disk of the machine is full; programs that write output wait until there is room.';
  }

  #log(kind: SandboxLogEntry['kind'], text: string, timeMs = this.#context.now()): void {
    const { taskId } = this.spec.sidecarOf ?? this;
    const { sandboxes, ledger } = this.#context;
    const entry = { timeMs, kind, text };
    ledger.tell(undefined, () => sandboxes.addEvent(taskId, entry));
  }

  #entrypointStream(name: 'stdout' | 'stderr'): OutputReader {
    const find = () => this.#processes.entrypoint?.[name];
    return (
      find() ??
      new ComingOutput({
        find,
        begun: (signal) =>
          this.#keeper.until((life) => isRunning(life) ?? isSuspended(life) ?? isEnded(life), signal),
        over: (signal) => this.#keeper.until(isEnded, signal),
        isOver: () => this.state === 'ended',
      })
    );
  }

  #endedError(): SkerryError {
    return sandboxEnded({ id: this.id, result: resultOf(this.#life) }, labelOf(this));
  }
}

/** What is mounted of no image. */
const NOTHING: MountContent = { layers: [], needed: [] };

const isRunning = (life: Life) =>
  (life.state === 'running' && (life.contact === 'made' || life.contact === 'suspending')) || undefined;
const isSuspending = (life: Life) => life.state === 'running' && life.contact === 'suspending';
const isSuspended = (life: Life) => life.state === 'suspended' || undefined;
const isEnded = (life: Life) => life.state === 'ended' || undefined;
