/**
 * A sandbox's time on the machine: does what its life asks for (`life.ts`), one thing at a time, and tells it how that went. It has the instance, the
 * agent and the clocks of the sandbox while there are any.
 */
import { isDeepStrictEqual } from 'node:util';
import { AgentClient } from '../agent/agent-client.ts';
import type { AgentProcessInfo, StartRequest } from '../agent/messages.ts';
import { forgetProgram } from '../agent/run-to-exit.ts';
import { remakeFifos, settleFiles } from '../agent/settle-files.ts';
import {
  type Instance,
  type InstanceExit,
  isAudited,
  type Marks,
  type NetworkEvent,
  type NetworkPolicy,
} from '../engines/engine.ts';
import { type ErrorCode, SkerryError, toSkerryError } from '../errors/skerry-error.ts';
import { ENTRYPOINT_PROCESS_ID, type SandboxId, type TaskId } from '../ids.ts';
import type { Images } from '../images/image.ts';
import { signalNumber } from '../images/stop-signal.ts';
import type { InstanceService, Placed } from '../instances/instance-service.ts';
import { Phases } from '../platform/phases.ts';
import { unlessAborted, withDeadline } from '../platform/wait.ts';
import type { Logger } from '../telemetry/logger.ts';
import type { Part } from '../telemetry/tracing.ts';
import type { VolumeMounts } from '../volumes/volume-mounts.ts';
import { Clocks } from './clocks.ts';
import { type ExitSnapshot, keepAsleep, takeExitSnapshot } from './exit-snapshot.ts';
import { type Effect, type Life, type LifeEvent, sleptOf } from './life.ts';
import type { ManagedProcess } from './managed-process.ts';
import { NetworkAudit } from './network-audit.ts';
import { processEnvironment } from './process-environment.ts';
import type { ProcessRow } from './repositories.ts';
import type { SandboxProcesses } from './sandbox-processes.ts';
import type { Sleep, Sleeps } from './sleep.ts';
import type { SandboxSpec } from './spec.ts';
import type { Startup } from './startups.ts';
import { exitCodeOf, type ProcessExit, type SandboxResult } from './state.ts';
import type { LaunchPlan, Tenant } from './tenant.ts';
import { HOSTNAME, warmthOf } from './warm-start.ts';
import { runWarmUp, type WarmUps } from './warm-ups.ts';

export interface TenancyParts {
  readonly id: SandboxId;
  readonly taskId: TaskId;
  readonly spec: SandboxSpec;
  readonly instances: InstanceService;
  readonly images: Pick<Images, 'addLayer'>;
  readonly volumes: Pick<VolumeMounts, 'attach' | 'bringLast' | 'detach' | 'follow'>;
  readonly processes: SandboxProcesses;
  readonly ports: { readonly open: number };
  /** @param slept what it goes on from, if it slept */
  readonly plan: (slept: Sleep | undefined) => Promise<LaunchPlan>;
  readonly warmUps: Pick<WarmUps, 'keep' | 'drop'>;
  readonly sleeps: Sleeps;
  /** Resolves once the store has all that happened up to now. */
  readonly stored: () => Promise<void>;
  /** What an earlier server left of it. */
  readonly left: Instance | undefined;
  readonly logger: Logger;
  readonly now: () => number;
  readonly life: () => Life;
  /** As they are now. */
  readonly marks: () => Marks;
  readonly tell: (event: LifeEvent) => void;
  /** Calls `turn` when the server has room for one more that starts, and keeps that room until what `turn` gives has settled. */
  readonly queue: (turn: () => Promise<void>) => void;
  /** Empties its directory of output. */
  readonly forgetOutput: () => void;
  /** Ends what depends on it. */
  readonly endDependents: () => Promise<void>;
  /** How long its program may take once it was told that it must end. */
  readonly stopGraceMs: () => Promise<number>;
  /** Takes what became of the snapshot of its end, where it has one. */
  readonly keepExitSnapshot: (taken: ExitSnapshot) => void;
  /** Takes what it does on its network, where that is audited. */
  readonly keepNetworkEvent: (event: NetworkEvent) => void;
  /** Takes where the time of its start went. */
  readonly noteStartup: (startup: Omit<Startup, 'ms'>, parts: readonly Part[]) => void;
  readonly ended: AbortSignal;
}

const START_TIMEOUT_MS = 120_000;
const TOO_LONG = `The sandbox did not start within ${START_TIMEOUT_MS / 1000} s: the machine has too much to do. Try again later, or see \`skerry doctor\`.`;
/** An agent that lives dials again within half a second; under gVisor on a busy machine it may take seconds. */
const RECOVERY_TIMEOUT_MS = 30_000;
const NO_ANSWER = 'Its agent did not answer when the server came back.';
/** How long the entrypoint's last output may take to arrive once everything in the sandbox was killed. */
const DRAIN_TIMEOUT_MS = 5_000;
/** An agent that does not answer keeps no sandbox from ending. */
const KILL_TIMEOUT_MS = 30_000;
const SIGKILL = 9;
/** Another time it may go better. */
const CANNOT_BE_SUSPENDED: readonly ErrorCode[] = ['conflict', 'unimplemented'];

export class Tenancy {
  readonly #parts: TenancyParts;
  /** There from the instance's start, or its taking over, to the end. */
  #tenant: Tenant | undefined;
  #left: Instance | undefined;
  /** When it began to wait for its turn to start. */
  #queuedAt = 0;
  /** Resolves when it gives back the room that it was given to start, before it has started. */
  #place = Promise.withResolvers<void>();
  #audit: NetworkAudit | undefined;
  #callOff = new AbortController();
  #activity: Promise<void> = Promise.resolve();
  readonly #clocks: Clocks;
  /** Resolves when it wakes, or ends instead. */
  #awake = Promise.withResolvers<void>();
  #followed: ManagedProcess | undefined;
  /** Whether its processes run and can be reached. */
  #isUp = false;
  #suspendFailure: unknown;
  /** What its instance was told that it is, last. */
  #marks: Marks | undefined;
  /** That of its life, until what was kept before is gone: something of each is to go once there is another one, or the sandbox has ended. */
  #lastSleep: Sleep | undefined;

  constructor(parts: TenancyParts) {
    this.#parts = parts;
    this.#left = parts.left;
    this.#clocks = new Clocks(parts);
    this.#lastSleep = sleptOf(parts.life());
  }

  get tenant(): Tenant | undefined {
    return this.#tenant;
  }

  get clocks(): Clocks {
    return this.#clocks;
  }

  /** Why it could not be suspended the last time. */
  get suspendFailure(): unknown {
    return this.#suspendFailure;
  }

  /** Has it go on from there, and not where it is. @throws SkerryError `conflict` when it is about to do something else */
  rollBack(slept: Sleep): void {
    const life = this.#parts.life();
    if (life.state !== 'running' || life.contact !== 'made') {
      throw new SkerryError(
        'conflict',
        'The sandbox cannot go back just now: it ends, or is being suspended.',
      );
    }
    this.#clocks.rest();
    this.#parts.tell({ kind: 'rolled-back', slept });
  }

  /** Has its instance say what it is called now. Nothing waits for that, and its failure hurts nothing but the view. */
  async remark(): Promise<void> {
    const { marks, logger, id } = this.#parts;
    const [instance, now] = [this.#tenant?.instance, marks()];
    if (!instance?.mark || isDeepStrictEqual(this.#marks, now)) return;
    this.#marks = now;
    await instance.mark(now).catch((err: unknown) => {
      if (this.#tenant?.instance !== instance) return;
      this.#marks = undefined;
      logger.warn({ sandbox: id, err }, 'sandbox.not-marked');
    });
  }

  /** @see LifeKeeperParts.perform */
  perform(effect: Effect, life: Life): void {
    try {
      this.#do(effect, life);
    } catch (error) {
      const { logger, id } = this.#parts;
      logger.error({ sandbox: id, err: error, effect }, 'sandbox.effect-failed');
      this.#end({ kind: 'crashed', message: toSkerryError(error).message });
    }
  }

  #do(effect: Effect, life: Life): void {
    const { processes, forgetOutput, queue, tell } = this.#parts;
    switch (effect) {
      case 'queue':
        this.#queuedAt = performance.now();
        queue(async () => {
          await undefined; // until the event that asked for this is done with: only then this one begins something
          this.#place = Promise.withResolvers();
          tell({ kind: 'turn' });
          await Promise.race([this.#activity, this.#place.promise]);
        });
        break;
      case 'forget':
        processes.reset();
        forgetOutput();
        break;
      case 'launch':
        this.#begin(async (signal) => {
          await this.#launch(signal);
          return this.#up();
        });
        break;
      case 'rejoin': {
        // Which processes there are is known at once; those who ask for one wait for the agent's answer.
        const known = Promise.withResolvers<void>();
        const rows = processes.recall(known.promise);
        this.#begin((signal) => this.#rejoin(rows, signal).finally(known.resolve));
        break;
      }
      case 'discard':
        this.#begin(() => this.#discard());
        break;
      case 'suspend':
        this.#clocks.rest();
        this.#begin((signal) => this.#suspend(signal));
        break;
      case 'stay':
        if (life.state === 'running' && this.#tenant) this.#clocks.stay(life, this.#tenant);
        break;
      case 'leave':
        this.#begin((signal) => this.#leave(signal));
        break;
      case 'doze':
        if (life.state === 'suspended') this.#clocks.startDeadline(life);
        processes.recall(this.#awake.promise);
        break;
      case 'wake':
        if (life.state !== 'suspended') break;
        this.#begin((signal) => this.#inTurn(() => this.#wake(life.slept, signal), signal));
        break;
      case 'call-off':
        this.#callOff.abort(new SkerryError('sandbox-ended', 'The sandbox is being ended.'));
        break;
      case 'open':
        this.#open(life);
        break;
      case 'close':
        this.#clocks.stop();
        break;
      case 'remove':
        void this.#remove().then(() => tell({ kind: 'removed', atMs: this.#parts.now() }));
        break;
      case 'settle':
        this.#tenant = undefined;
        this.#left = undefined;
        processes.abandon();
        this.#awake.resolve();
        this.#afterStored((sleeps, slept) => sleeps.forget(slept));
        break;
      default:
        effect satisfies never;
    }
  }

  /** Starts what the life calls an activity. */
  #begin(work: (signal: AbortSignal) => Promise<LifeEvent>): void {
    this.#callOff = new AbortController();
    const { tell } = this.#parts;
    this.#activity = work(this.#callOff.signal).then(tell, (error: unknown) => {
      const failure = toSkerryError(error);
      if (failure.code === 'internal' && !this.#callOff.signal.aborted) {
        const { logger, id } = this.#parts;
        logger.error({ sandbox: id, err: error, during: this.#parts.life() }, 'sandbox.activity-failed');
      }
      tell({ kind: 'failed', message: failure.message });
    });
  }

  #up(): LifeEvent {
    return { kind: 'up', atMs: this.#parts.now(), timeoutMs: this.#parts.spec.timeoutMs };
  }

  #launch(calledOff: AbortSignal): Promise<void> {
    return inTime(calledOff, async (signal, allowMore) => {
      const phases = new Phases();
      phases.add('queue', performance.now() - this.#queuedAt);
      const launch = await phases.time('plan', () => this.#parts.plan(undefined));
      allowMore(launch.gpus?.foundWithinMs ?? 0);
      const { tenant, waited } = await this.#startWarmedUp(launch, signal, phases);
      if (launch.from) await this.#goOn(tenant, signal);
      else {
        if (!tenant.plan.from) {
          await phases.time('fifos', () => remakeFifos(tenant.instance, tenant.agent, signal));
          await this.#warmUp(tenant, signal, phases);
        }
        if (launch.warmUp) await tenant.agent.renew(ENTRYPOINT_PROCESS_ID, signal);
        if (launch.argv.length > 0)
          await phases.time('entrypoint', () => this.#startEntrypoint(tenant, signal));
      }
      signal.throwIfAborted();
      const { runtime } = tenant.instance;
      this.#parts.noteStartup({ runtime, waited, phases: phases.spent }, phases.parts);
    });
  }

  /** Begins where what its image has done first is done, if there is a checkpoint of that. One that cannot be begun from is dropped, and it is done once more. */
  async #startWarmedUp(launch: LaunchPlan, signal: AbortSignal, phases: Phases) {
    const { spec, warmUps } = this.#parts;
    const found = launch.warmUp?.from;
    if (found) {
      try {
        return await this.#startInstance({ ...launch, from: found.checkpoint }, spec.network, signal, phases);
      } catch (error) {
        signal.throwIfAborted();
        warmUps.drop(found, error);
      }
    }
    return this.#startInstance(launch, spec.network, signal, phases);
  }

  /** What its image has done first; kept for others, if it can be. */
  async #warmUp({ instance, agent, plan }: Tenant, signal: AbortSignal, phases: Phases): Promise<void> {
    const { warmUp } = plan;
    if (!warmUp) return;
    await phases.time('warm-up', () => runWarmUp(agent, warmUp, plan, signal));
    const { key } = warmUp;
    if (key === undefined) return;
    const settle = () => settleFiles(instance, agent, signal);
    await phases.time('checkpoint', () =>
      this.#parts.warmUps.keep(key, this.#parts, { instance, agent, plan }, settle),
    );
  }

  async #startInstance(
    launch: LaunchPlan,
    network: NetworkPolicy,
    signal: AbortSignal,
    phases = new Phases(),
  ): Promise<{ readonly tenant: Tenant; readonly waited: boolean }> {
    const { spec, taskId, instances, volumes, tell } = this.#parts;
    let waited = false;
    signal.throwIfAborted();
    const { joins, gpus, runtime, limits, disk, buckets, from } = launch;
    const { layers } = launch.image;
    const given = {
      ...(joins && { joins }),
      ...(gpus && { gpus }),
      ...(disk && { disk }),
      ...(from && { from }),
    };
    const shape = { layers, runtime, ...given };
    const tenureOf = async (placed: Placed) => {
      waited = placed.waited;
      tell({ kind: 'placed', instance: placed.id });
      const mounts = await phases.time('volumes', () => volumes.attach(taskId, spec.volumes, placed.firstId));
      signal.throwIfAborted();
      this.#marks = this.#parts.marks();
      const onWait = () => this.#place.resolve();
      return { hostname: HOSTNAME, limits, network, mounts, buckets, marks: this.#marks, onWait };
    };
    const instance = await instances.start(shape, tenureOf, signal, {
      warmth: warmthOf(spec, launch),
      phases,
    });
    const tenant = this.#takeOver(instance, launch);
    void this.remark(); // it may have been given tags meanwhile
    if (instance.copies) await volumes.follow(taskId, instance.copies);
    signal.throwIfAborted();
    return { tenant, waited };
  }

  /** Work that counts as a start: it waits until the server has room for one more. */
  #inTurn(work: () => Promise<LifeEvent>, calledOff: AbortSignal): Promise<LifeEvent> {
    const done = Promise.withResolvers<LifeEvent>();
    let begun = false;
    const onAbort = () => {
      if (!begun) done.reject(calledOff.reason);
    };
    calledOff.addEventListener('abort', onAbort, { once: true });
    this.#parts.queue(async () => {
      if (calledOff.aborted) return;
      begun = true;
      await work().then(done.resolve, done.reject);
    });
    return done.promise;
  }

  async #suspend(signal: AbortSignal): Promise<LifeEvent> {
    const tenant = this.#tenant;
    const { sleeps, life, instances, taskId, spec, logger, id } = this.#parts;
    const before = life();
    if (!tenant || before.state !== 'running') throw new Error('nothing runs that could be suspended');
    const { instance, agent } = tenant;
    // One that must end does not wait for it, unless its files are needed.
    const breakOff = () => void (spec.exitSnapshot || this.#tried(() => instances.destroy(instance.id)));
    signal.addEventListener('abort', breakOff, { once: true });
    try {
      await agent.require('checkpoint', signal);
      const settle = () => settleFiles(instance, agent, signal);
      const slept = await sleeps.take(
        { taskId, deadlineMs: before.deadlineMs },
        tenant,
        before.slept,
        settle,
      );
      if (!signal.aborted) return { kind: 'slept', slept };
      await instance.resume().catch(() => {});
      await sleeps.forget(slept);
      throw new SkerryError('sandbox-ended', 'The sandbox is being ended.');
    } catch (error) {
      this.#suspendFailure = error;
      logger.warn({ sandbox: id, err: error }, 'sandbox.not-suspended');
      const cannot = error instanceof SkerryError && CANNOT_BE_SUSPENDED.includes(error.code);
      if (cannot && spec.idleAction === 'suspend-or-end') this.#end({ kind: 'idle-timeout' });
      throw error;
    }
  }

  /** It is on the disk: what it was in goes. Whatever fails on the way is tried again, and changes nothing about that. */
  async #leave(calledOff: AbortSignal): Promise<LifeEvent> {
    const { processes, instances, volumes, taskId, stored, sleeps } = this.#parts;
    const instance = this.#tenant?.instance;
    this.#tenant = undefined;
    this.#isUp = false;
    this.#awake = Promise.withResolvers();
    const before = this.#lastSleep;
    this.#lastSleep = sleptOf(this.#parts.life());
    if (this.#lastSleep?.isRollback) processes.goBack();
    else processes.sleep(this.#awake.promise);
    // The next server finds either what runs, or what is kept. What must end does not wait for that.
    await unlessAborted(stored(), calledOff).catch(() => {});
    if (before) void sleeps.forget(before);
    const gone = await this.#tried(async () => instance && instances.destroy(instance.id));
    await this.#tried(async () => this.#audit?.end());
    await this.#tried(() => volumes.detach(taskId, gone));
    return { kind: 'left' };
  }

  /** Its programs go on where they were, in another instance. */
  #wake(slept: Sleep, calledOff: AbortSignal): Promise<LifeEvent> {
    return inTime(calledOff, async (signal) => {
      const { plan, processes } = this.#parts;
      const launch = await plan(slept);
      this.#clocks.forgetOomKills();
      const { tenant } = await this.#startInstance(
        { ...launch, from: slept.checkpoint },
        slept.network,
        signal,
      );
      if (slept.isRollback) {
        processes.goBack(); // an earlier try may have got so far
        await this.#goOn(tenant, signal);
      } else {
        const listed = await tenant.agent.list(signal);
        signal.throwIfAborted();
        this.#resumeProcesses(tenant, processes.rows(), listed);
      }
      this.#awake.resolve();
      return this.#up();
    });
  }

  /** Its programs run. The entrypoint becomes its own; those that another sandbox's execs began are nobody's. */
  async #goOn({ agent, plan }: Tenant, signal: AbortSignal): Promise<void> {
    await agent.renew(ENTRYPOINT_PROCESS_ID, signal);
    if (plan.argv.length === 0) return;
    const { spec, processes } = this.#parts;
    processes.takeUpEntrypoint(agent, { argv: plan.argv, hasPty: spec.pty !== undefined });
    this.#followEntrypoint();
  }

  /** Takes up what an earlier server left, if it can go on as it is. */
  async #rejoin(rows: readonly ProcessRow[], calledOff: AbortSignal): Promise<LifeEvent> {
    const { plan, life } = this.#parts;
    if (!this.#left) throw new Error('there is nothing to rejoin');
    const launch = await unlessAborted(plan(sleptOf(life())), calledOff);
    const tenant = this.#takeOver(this.#left, launch);
    const limit = AbortSignal.timeout(RECOVERY_TIMEOUT_MS);
    const signal = AbortSignal.any([limit, calledOff]);
    const listed = await tenant.agent.list(signal).catch((cause: unknown) => {
      throw limit.aborted ? new SkerryError('unavailable', NO_ANSWER, { cause }) : cause;
    });
    calledOff.throwIfAborted();
    // What was killed for memory while no server looked did not end a program that runs still.
    const entrypoint = listed.find(({ id }) => id === ENTRYPOINT_PROCESS_ID);
    if (!entrypoint?.exit) await this.#clocks.noteOomKills(tenant);
    const lacksEntrypoint = tenant.plan.argv.length > 0 && !entrypoint;
    // One that goes on from a snapshot lists the entrypoint, whether it has become its own or not; what an image has done first may not be done.
    const { from, warmUp } = tenant.plan;
    if (life().state === 'starting' && (lacksEntrypoint || from || warmUp)) return { kind: 'incomplete' };
    this.#resumeProcesses(tenant, rows, listed);
    return this.#up();
  }

  /** What is known of its processes goes on with those that its agent has. */
  #resumeProcesses(tenant: Tenant, rows: readonly ProcessRow[], listed: readonly AgentProcessInfo[]): void {
    this.#parts.processes.resume(rows, new Set(listed.map(({ id }) => id)), tenant.agent);
    this.#forgetStrangers(tenant, rows, listed);
    this.#followEntrypoint();
  }

  /** What no row is about an earlier server ran for itself, a readiness probe for one: nobody waits for it any more. */
  #forgetStrangers(
    { agent }: Tenant,
    rows: readonly ProcessRow[],
    listed: readonly AgentProcessInfo[],
  ): void {
    const { logger, id: sandbox } = this.#parts;
    const known = new Set<string>(rows.map(({ id }) => id));
    for (const { id, stdout, stderr } of listed.filter((process) => !known.has(process.id))) {
      forgetProgram(agent, id, { stdout, stderr }).then(
        () => logger.debug({ sandbox, process: id }, 'sandbox.stranger-forgotten'),
        (err: unknown) => logger.warn({ sandbox, process: id, err }, 'sandbox.stranger-kept'),
      );
    }
  }

  async #discard(): Promise<LifeEvent> {
    this.#tenant = undefined;
    const { instances, volumes, taskId } = this.#parts;
    await this.#bringLast(this.#left);
    if (this.#left) await instances.destroy(this.#left.id);
    this.#left = undefined;
    await volumes.detach(taskId, true);
    return { kind: 'discarded' };
  }

  /** What is on the machine goes; nothing that fails on the way keeps the sandbox from ending, and it is tried again. */
  async #remove(): Promise<void> {
    const { endDependents, keepExitSnapshot, instances, images, volumes, taskId, spec, logger } = this.#parts;
    const instance = this.#tenant?.instance ?? this.#left;
    const slept = sleptOf(this.#parts.life());
    await this.#tried(() => Promise.all([endDependents(), this.#stop()]));
    if (spec.exitSnapshot) {
      const imageOf = async () => (this.#tenant?.plan ?? (await this.#parts.plan(slept))).image;
      const parts = { images, logger };
      keepExitSnapshot(
        await (slept && !instance ? keepAsleep(imageOf, parts) : takeExitSnapshot(instance, imageOf, parts)),
      );
    }
    await this.#bringLast(instance);
    const gone = await this.#tried(async () => instance && instances.destroy(instance.id));
    await this.#tried(async () => this.#audit?.end());
    // What it wrote is in its volumes before anybody is told that it ended.
    await this.#tried(() => volumes.detach(taskId, gone));
  }

  /** Where it has copies of its volumes, what it wrote comes out of these before they go with it. Nothing runs any more that could write. Never rejects. */
  async #bringLast(instance: Instance | undefined): Promise<void> {
    const { volumes, taskId, spec, logger, id: sandbox } = this.#parts;
    if (!instance?.copies || spec.volumes.every(({ readOnly }) => readOnly)) return;
    const agent = new AgentClient((signal) => instance.dial(signal), logger);
    // One that was stopped has nothing that runs; one that is gone has nothing at all.
    await agent.killAll(SIGKILL, AbortSignal.timeout(KILL_TIMEOUT_MS)).catch(() => {});
    await volumes.bringLast(taskId).catch((err: unknown) => {
      logger.error({ sandbox, err }, 'sandbox.last-writes-lost');
    });
  }

  /** Where its image names a signal for that, tells its program that it must end, and waits for its end and its last output. */
  async #stop(): Promise<void> {
    const entrypoint = this.#isUp ? this.#followed : undefined;
    const { instance, plan } = this.#tenant ?? {};
    const signal = signalNumber(plan?.image.config.stopSignal ?? '');
    if (!instance || !entrypoint?.running || signal === undefined) return;
    const graceMs = await this.#parts.stopGraceMs();
    if (graceMs === 0) return;
    const stopped = entrypoint.kill(signal, 'process').then(() => entrypoint.drained);
    await withDeadline(Promise.race([stopped, instance.exited]), graceMs);
  }

  /** Whether it went well. */
  async #tried(part: () => Promise<unknown>): Promise<boolean> {
    try {
      await part();
      return true;
    } catch (error) {
      const { logger, id } = this.#parts;
      logger.error({ sandbox: id, err: error }, 'sandbox.destroy-failed');
      return false;
    }
  }

  #takeOver(instance: Instance, launch: LaunchPlan): Tenant {
    // Over the image's: those of CUDA's images ask for every GPU there is.
    const plan = { ...launch, env: { ...launch.env, ...instance.deviceEnvironment } };
    const agent = new AgentClient((signal) => instance.dial(signal), this.#parts.logger);
    const tenant = { instance, plan, agent };
    this.#tenant = tenant;
    const { spec, keepNetworkEvent, logger } = this.#parts;
    if (isAudited(spec.network) && !spec.sidecarOf) {
      this.#audit = new NetworkAudit(instance, keepNetworkEvent, logger);
    }
    void instance.exited.then((exit) => this.#instanceExited(tenant, exit));
    return tenant;
  }

  async #instanceExited(tenant: Tenant, exit: InstanceExit): Promise<void> {
    if (exit.reason === 'destroyed' || this.#tenant !== tenant) return;
    // The engine counts from its start: it may have lived through what was killed for memory.
    const outOfMemory = exit.reason === 'out-of-memory' && (await this.#clocks.oomKilledSince(tenant));
    const message = exit.reason === 'crashed' ? exit.message : 'Its first process died.';
    this.#end(outOfMemory ? { kind: 'out-of-memory' } : { kind: 'crashed', message });
  }

  #open(life: Life): void {
    const { processes } = this.#parts;
    if (life.state !== 'running' || !this.#tenant) return;
    this.#isUp = true;
    this.#clocks.start(life, this.#tenant);
    processes.holdWhileRunning();
    this.#afterStored((sleeps, slept) => sleeps.forgetMemory(slept));
  }

  /** With what is kept of the last sleep, if there is any, once the store knows what follows it. */
  #afterStored(work: (sleeps: Sleeps, slept: Sleep) => unknown): void {
    const { stored, sleeps } = this.#parts;
    const slept = this.#lastSleep;
    if (slept) void stored().then(() => work(sleeps, slept));
  }

  async #startEntrypoint({ agent, plan }: Tenant, signal: AbortSignal): Promise<void> {
    const { spec, processes } = this.#parts;
    const request: StartRequest = {
      id: ENTRYPOINT_PROCESS_ID,
      argv: plan.argv,
      env: processEnvironment(plan.env, {}, spec.pty !== undefined),
      cwd: plan.workdir,
      createCwd: true,
      user: plan.user,
      timeoutMs: null,
      stdin: 'pipe',
      stdout: 'pipe',
      stderr: 'pipe',
      pty: spec.pty ?? null,
    };
    const process = await processes.start(agent, request, { signal, failureIsExit: true });
    // Who reads the entrypoint's output is told as well.
    if (process.startFailure) throw process.startFailure;
    this.#followEntrypoint();
  }

  #followEntrypoint(): void {
    const process = this.#parts.processes.entrypoint;
    if (process === this.#followed) return; // it slept meanwhile
    this.#followed = process;
    void process?.wait(this.#parts.ended).then(
      (exit) => this.#entrypointExited(process, exit),
      () => {}, // the sandbox ended first
    );
  }

  /** Its main process ended: like a container, the sandbox ends with it, once the output is complete. */
  async #entrypointExited(process: ManagedProcess, exit: ProcessExit): Promise<void> {
    const tenant = this.#tenant;
    const { state } = this.#parts.life();
    if (!tenant || state === 'stopping' || state === 'ended') return;
    const wasKilled = exit.kind === 'signal' && exit.signal === SIGKILL;
    const oomKilled = wasKilled && (await this.#clocks.oomKilledSince(tenant));
    await tenant.agent.killAll(SIGKILL, AbortSignal.timeout(DRAIN_TIMEOUT_MS)).catch(() => {});
    await withDeadline(process.drained, DRAIN_TIMEOUT_MS);
    this.#end(oomKilled ? { kind: 'out-of-memory' } : { kind: 'exited', exitCode: exitCodeOf(exit) });
  }

  #end(result: SandboxResult): void {
    this.#parts.tell({ kind: 'end', result });
  }
}

/** Work that a start does, broken off when it takes too long. @param work may be allowed more time, from then on */
async function inTime<T>(
  calledOff: AbortSignal,
  work: (signal: AbortSignal, allowMore: (ms: number) => void) => Promise<T>,
): Promise<T> {
  const tooLong = new AbortController();
  const begin = (ms: number) =>
    setTimeout(() => tooLong.abort(new SkerryError('unavailable', TOO_LONG)), START_TIMEOUT_MS + ms);
  let timer = begin(0);
  const allowMore = (ms: number) => {
    clearTimeout(timer);
    timer = begin(ms);
  };
  try {
    return await work(AbortSignal.any([tooLong.signal, calledOff]), allowMore);
  } finally {
    clearTimeout(timer);
  }
}
