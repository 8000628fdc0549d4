/**
 * One sandbox: its state machine, its processes, its clocks. Every edge of the machine is one row update, which the store may take later: no end waits
 * for it.
 *
 * An ended sandbox is the same object without an instance: its output and exits stay readable.
 */

import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { AgentClient } from '../agent/agent-client.ts';
import type { StartRequest } from '../agent/messages.ts';
import { remakeFifos, settleFiles } from '../agent/settle-files.ts';
import type { Engine, Instance, NetworkPolicy, RuntimeName } from '../engines/engine.ts';
import { GUEST_FS_TOOLS } from '../engines/paths.ts';
import { SkerryError, toSkerryError } from '../errors/skerry-error.ts';
import { ENTRYPOINT_PROCESS_ID, type ProcessId, type SandboxId, type TaskId } from '../ids.ts';
import type { Image, Images } from '../images/image.ts';
import { setAlarm } from '../platform/alarm.ts';
import type { Ledger } from '../platform/ledger.ts';
import { unlessAborted, withDeadline } from '../platform/wait.ts';
import type { Logger } from '../telemetry/logger.ts';
import { IdleClock } from './activity.ts';
import { watchAgent } from './agent-watch.ts';
import { ComingOutput } from './coming-output.ts';
import type { ManagedProcess } from './managed-process.ts';
import { OutputBudget } from './output-budget.ts';
import { processEnvironment } from './process-environment.ts';
import { waitUntilProbeSucceeds } from './readiness.ts';
import {
  isUniqueViolation,
  type ProcessRepository,
  type ProcessRow,
  type SandboxRepository,
  type SandboxRow,
} from './repositories.ts';
import { describeResult, sandboxEnded } from './result-text.ts';
import { SandboxProcesses } from './sandbox-processes.ts';
import type { OutputReader, Process, Sandbox, SandboxLogEntry } from './sandboxes.ts';
import type { ExecSpec, SandboxSpec } from './spec.ts';
import { exitCodeOf, type ProcessExit, type SandboxResult, type SandboxState, transitions } from './state.ts';

/** What a sandbox needs of its surroundings; the manager provides it. */
export interface SandboxContext {
  readonly engine: Engine;
  readonly images: Images;
  readonly sandboxes: SandboxRepository;
  readonly processes: ProcessRepository;
  /** Takes what happened, for the store. */
  readonly ledger: Ledger;
  /** Directory with one folder of output files per task. */
  readonly outputRoot: string;
  readonly maxOutputBytes: number;
  readonly logger: Logger;
  readonly now: () => number;
  /** The merged variables of an exec's sources. */
  readonly resolveSecrets: (sources: ExecSpec['secretSources']) => Record<string, string>;
  /** Awaited before its instance is taken away: what depends on it ends first. */
  readonly onStopping: (sandbox: ManagedSandbox) => Promise<void>;
  /** At its end, whether or not the store knows yet. */
  readonly onEnded: (sandbox: ManagedSandbox) => void;
  /** Its end is in the store: from now on it can be read from there. */
  readonly onEndStored: (sandbox: ManagedSandbox) => void;
  /** Whose idle clock its activity counts for, when it is not its own: a sidecar's sandbox. */
  readonly activity?: Pick<Sandbox, 'touch' | 'hold'>;
}

/** Everything a start needs that is not in the row: made by the manager out of image, secrets and mounts. */
export interface LaunchPlan {
  /** The image with the file mounts over it; snapshots continue from it. */
  readonly image: Image;
  readonly layers: readonly string[];
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly workdir: string;
  readonly user: string;
  readonly runtime: 'auto' | 'gvisor' | 'runc';
  readonly limits: { memoryMiB: number; milliCpu: number; milliCpuRequest: number; pids: number };
}

const START_TIMEOUT_MS = 120_000;
/** An agent that lives dials again within half a second; under gVisor on a busy machine it may take seconds. */
const RECOVERY_TIMEOUT_MS = 30_000;
/** How long the entrypoint's last output may take to arrive once everything in the sandbox was killed. */
const DRAIN_TIMEOUT_MS = 5_000;
const SIGKILL = 9;

/** The parts of a running sandbox; they exist together or not at all. */
interface Live {
  readonly instance: Instance;
  readonly agent: AgentClient;
  readonly plan: LaunchPlan;
}

export class ManagedSandbox implements Sandbox {
  readonly id: SandboxId;
  readonly taskId: TaskId;
  readonly spec: SandboxSpec;
  readonly createdAtMs: number;
  readonly #context: SandboxContext;
  #name: string | undefined;
  #tags: Readonly<Record<string, string>>;
  #state: SandboxState;
  #result: SandboxResult | undefined;
  #startedAtMs: number | undefined;
  #endedAtMs: number | undefined;
  #readyAtMs: number | undefined;
  #deadlineMs: number | undefined;
  #live: Live | undefined;
  readonly #processes: SandboxProcesses;
  readonly #outputDir: string;
  readonly #running = Promise.withResolvers<void>();
  readonly #ended = Promise.withResolvers<SandboxResult>();
  readonly #endedSignal = new AbortController();
  readonly #ready = Promise.withResolvers<number>();
  /** The start or recovery under way or done; its end must be awaited before the instance can be taken away. */
  #launching: Promise<void> = Promise.resolve();
  readonly #stopping = new AbortController();
  #ending: Promise<void> | undefined;
  /** What an earlier server left of it, until it is taken over. */
  #left: Instance | undefined;
  /** Nothing this server still does may change what the next one takes over. */
  #detached = false;
  #stopDeadline: () => void = () => {};
  #idle: IdleClock | undefined;
  readonly #watching = new AbortController();
  /** Those under way: the instance may be paused. */
  #snapshots = 0;

  constructor(context: SandboxContext, row: SandboxRow) {
    this.#context = context;
    this.id = row.id;
    this.taskId = row.taskId;
    this.spec = row.spec;
    this.createdAtMs = row.createdAtMs;
    this.#name = row.name ?? row.spec.sidecarOf?.name;
    this.#tags = row.tags;
    this.#state = row.state;
    this.#result = row.result;
    this.#startedAtMs = row.startedAtMs;
    this.#endedAtMs = row.endedAtMs;
    this.#readyAtMs = row.readyAtMs;
    this.#deadlineMs = row.deadlineMs;
    this.#outputDir = join(context.outputRoot, row.taskId);
    const budget = new OutputBudget(context.maxOutputBytes, this.#endedSignal.signal, (reason) =>
      this.#log(
        'limit',
        reason === 'bound'
          ? `Output reached the bound of ${Math.round(context.maxOutputBytes / 2 ** 20)} MiB per sandbox; programs that write more wait.`
          : 'The disk of the machine is full; programs that write output wait until there is room.',
      ),
    );
    this.#processes = new SandboxProcesses({
      taskId: row.taskId,
      outputDir: this.#outputDir,
      budget,
      repository: context.processes,
      ledger: context.ledger,
      logger: context.logger,
      now: context.now,
      ended: this.#endedSignal.signal,
      onActivity: () => this.touch(),
      hold: () => this.hold(),
    });
    // Nobody may be waiting for these; a rejection must not count as unhandled.
    this.#running.promise.catch(() => {});
    this.#ready.promise.catch(() => {});
    if (row.state === 'ended') this.#restoreEnded();
    else mkdirSync(this.#outputDir, { recursive: true, mode: 0o700 });
  }

  get isolation(): RuntimeName | undefined {
    if (this.#state === 'ended') return undefined;
    if (this.#live) return this.#live.instance.runtime;
    try {
      return this.#context.engine.runtimeFor(this.spec.runtime ?? 'auto');
    } catch {
      return undefined; // its start fails for the same reason and says so
    }
  }
  get name() {
    return this.#name;
  }
  get tags() {
    return this.#tags;
  }
  get startedAtMs() {
    return this.#startedAtMs;
  }
  get endedAtMs() {
    return this.#endedAtMs;
  }
  get readyAtMs() {
    return this.#readyAtMs;
  }
  get deadlineMs() {
    return this.#deadlineMs ?? this.createdAtMs + this.spec.timeoutMs;
  }
  get state() {
    return this.#state;
  }
  get result() {
    return this.#state === 'ended' ? this.#result : undefined;
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

  /** Brings it to `running`. Never throws: a failure ends the sandbox with `start-failed`. */
  async start(plan: () => Promise<LaunchPlan>): Promise<void> {
    if (this.#state !== 'created') return;
    this.#move('starting');
    this.#launching = this.#launch(plan);
    try {
      await this.#launching;
    } catch (error) {
      // What a server that shuts down could not finish is no failure: the next one begins it anew.
      if (this.#ending || this.#detached) return;
      const failure = toSkerryError(error);
      if (failure.code === 'internal') {
        this.#context.logger.error({ sandbox: this.id, err: error }, 'sandbox.start-failed');
      }
      await this.#end({ kind: 'start-failed', message: failure.message });
    }
  }

  /**
   * After a restart of the server: takes over the instance that still lives, or ends what did not survive. The processes are known when this returns its
   * promise, which resolves to whether the sandbox has to be started (again). `fate` says what became of an instance that ran and is gone.
   */
  async recover(
    instance: Instance | undefined,
    plan: () => Promise<LaunchPlan>,
    fate: string,
  ): Promise<boolean> {
    this.#left = instance;
    if (this.#state === 'stopping') {
      this.#ending = this.#takeAway(this.#result ?? { kind: 'terminated' });
      await this.#ending;
      return false;
    }
    if (!instance) {
      if (this.#state !== 'running') return this.#reset();
      this.#finish({ kind: 'crashed', message: fate });
      return false;
    }
    const known = Promise.withResolvers<void>();
    const rejoining = this.#rejoin(instance, plan, this.#processes.recall(known.promise));
    this.#launching = rejoining.then(() => {});
    this.#launching.catch(() => {}); // its end looks at it, if there is one
    try {
      if (await rejoining) return false;
    } catch (error) {
      if (this.#ending || this.#detached) return false;
      if (this.#state === 'running') {
        this.#context.logger.error({ sandbox: this.id, err: error }, 'sandbox.recovery-failed');
        await this.#end({ kind: 'crashed', message: 'Its agent did not answer when the server came back.' });
        return false;
      }
    } finally {
      known.resolve();
    }
    return this.#discard(instance);
  }

  waitUntilRunning(signal: AbortSignal): Promise<void> {
    return unlessAborted(this.#running.promise, signal);
  }

  async wait(timeoutMs: number, signal: AbortSignal): Promise<SandboxResult | undefined> {
    if (this.#state !== 'ended' && timeoutMs > 0) await withDeadline(this.#ended.promise, timeoutMs, signal);
    // From its first moment on the end is sure, however long it takes to clear away: every call says the same.
    return this.#state === 'ended' || this.#state === 'stopping' ? this.#result : undefined;
  }

  async waitUntilReady(timeoutMs: number, signal: AbortSignal): Promise<number> {
    if (!this.spec.readinessProbe)
      throw new SkerryError('conflict', 'The sandbox was created without a readiness probe.');
    const readyAtMs = await withDeadline(this.#ready.promise, timeoutMs, signal);
    if (readyAtMs === undefined) {
      throw new SkerryError(
        'deadline-exceeded',
        `The readiness probe did not succeed within ${timeoutMs / 1000} s.`,
      );
    }
    return readyAtMs;
  }

  terminate(): Promise<void> {
    return this.#end({ kind: 'terminated' });
  }

  /** Lets go of the instance, which goes on (the server shuts down). */
  detach(): void {
    this.#detached = true;
    this.#stopClocks();
    this.#processes.detach();
  }

  /** Removes its output: nobody may read it any more. */
  forget(): void {
    rmSync(this.#outputDir, { recursive: true, force: true });
  }

  // Processes

  async exec(id: ProcessId, spec: ExecSpec, signal: AbortSignal): Promise<Process> {
    // After a restart of the server the agent first has to tell which processes there are.
    if (this.#state === 'running') await this.waitUntilRunning(signal);
    const askedAtMs = this.#context.now();
    const starting = this.#processes.startOnce(id, () => this.#execRequest(id, spec, askedAtMs), spec);
    return unlessAborted(starting, signal).catch((error: unknown) => {
      throw this.#endedSignal.signal.aborted ? this.#endedError() : error;
    });
  }

  process(id: ProcessId): Process {
    const process = this.#processes.get(id);
    if (!process) throw new SkerryError('not-found', `${this.#label} has no process ${id}.`);
    return process;
  }

  processes(): readonly Process[] {
    return this.#processes.execs;
  }

  // What can be changed

  setName(name: string): void {
    if (this.#name === name) return;
    if (this.#name !== undefined)
      throw new SkerryError('conflict', `The sandbox already has the name '${this.#name}'.`);
    if (this.#state === 'ended' || this.#state === 'stopping') throw this.#endedConflict();
    try {
      this.#context.sandboxes.setName(this.id, name);
    } catch (error) {
      if (isUniqueViolation(error)) throw nameTaken(name);
      throw error;
    }
    this.#name = name;
  }

  setTags(tags: Readonly<Record<string, string>>): void {
    this.#context.sandboxes.setTags(this.id, tags);
    this.#tags = tags;
  }

  async setNetworkPolicy(policy: NetworkPolicy): Promise<void> {
    await this.waitUntilRunning(this.#endedSignal.signal);
    if (!this.#live) throw this.#endedError();
    await this.#live.instance.setNetworkPolicy(policy);
  }

  async snapshotFilesystem(signal: AbortSignal): Promise<Image> {
    await this.waitUntilRunning(signal);
    const live = this.#live;
    if (!live) throw this.#endedError();
    const release = this.hold();
    this.#snapshots++;
    try {
      const fifos = await settleFiles(live.instance, live.agent, signal);
      return await this.#context.images.addLayer(live.plan.image, (directory) =>
        live.instance.commit(directory, { move: false, fifos }),
      );
    } finally {
      this.#snapshots--;
      release();
    }
  }

  events(): readonly SandboxLogEntry[] {
    return this.#context.sandboxes.events(this.taskId);
  }

  logVerbose(kind: SandboxLogEntry['kind'], text: string): void {
    if (this.spec.verbose) this.#log(kind, text);
  }

  touch(): void {
    (this.#context.activity ?? this.#idle)?.touch();
  }

  hold(): () => void {
    return (this.#context.activity ?? this.#idle)?.hold() ?? (() => {});
  }

  // Inside

  async #launch(plan: () => Promise<LaunchPlan>): Promise<void> {
    const signal = AbortSignal.any([AbortSignal.timeout(START_TIMEOUT_MS), this.#stopping.signal]);
    const launch = await plan();
    signal.throwIfAborted();
    const { sidecarOf } = this.spec;
    const instance = await this.#context.engine.create(
      {
        id: this.taskId,
        ...(sidecarOf && { joins: sidecarOf.taskId }),
        layers: launch.layers,
        hostname: 'modal',
        runtime: launch.runtime,
        limits: launch.limits,
        network: this.spec.network,
        mounts: [],
      },
      signal,
    );
    const live = this.#takeOver(instance, launch);
    signal.throwIfAborted();
    await remakeFifos(instance, live.agent, signal);
    if (launch.argv.length > 0) await this.#startEntrypoint(live, signal);
    signal.throwIfAborted();
    this.#run();
  }

  /** Whether it can go on as the earlier server left it. @throws when its agent does not answer, or it is to end */
  async #rejoin(
    instance: Instance,
    plan: () => Promise<LaunchPlan>,
    rows: readonly ProcessRow[],
  ): Promise<boolean> {
    const stopping = this.#stopping.signal;
    const { agent } = this.#takeOver(instance, await unlessAborted(plan(), stopping));
    const signal = AbortSignal.any([AbortSignal.timeout(RECOVERY_TIMEOUT_MS), stopping]);
    const ids = new Set((await agent.list(signal)).map(({ id }) => id));
    stopping.throwIfAborted();
    const lacksEntrypoint = (this.#live?.plan.argv.length ?? 0) > 0 && !ids.has(ENTRYPOINT_PROCESS_ID);
    if (this.#state !== 'running' && lacksEntrypoint) return false;
    this.#processes.resume(rows, ids, agent);
    this.#followEntrypoint();
    this.#run();
    return true;
  }

  async #execRequest(
    id: ProcessId,
    spec: ExecSpec,
    askedAtMs: number,
  ): Promise<{ agent: AgentClient; request: StartRequest }> {
    if (this.#state === 'ended' || this.#state === 'stopping') throw this.#endedError();
    if (this.#state !== 'running') await this.waitUntilRunning(this.#endedSignal.signal);
    if (!this.#live) throw this.#endedError();
    const { agent, plan } = this.#live;
    // What the file API runs is no exec of the user's, and needs no working directory that may have been removed.
    const isFileTool = spec.argv[0] === GUEST_FS_TOOLS;
    if (!isFileTool) {
      this.logVerbose('exec', `Sandbox exec started: ${spec.argv.join(' ')}`);
    }
    const usedMs = this.#context.now() - askedAtMs + (spec.timeoutLeadMs ?? 0);
    const own = this.#context.resolveSecrets(spec.secretSources);
    const request: StartRequest = {
      id,
      argv: spec.argv,
      env: processEnvironment(plan.env, own, spec.pty !== undefined),
      cwd: isFileTool ? '/' : below(plan.workdir, spec.workdir),
      createCwd: false,
      user: plan.user,
      timeoutMs: spec.timeoutMs === undefined ? null : Math.max(1, spec.timeoutMs - usedMs),
      stdin: 'pipe',
      stdout: spec.stdout,
      stderr: spec.stderr,
      pty: spec.pty ?? null,
    };
    return { agent, request };
  }

  async #startEntrypoint({ agent, plan }: Live, signal: AbortSignal): Promise<void> {
    const request: StartRequest = {
      id: ENTRYPOINT_PROCESS_ID,
      argv: plan.argv,
      env: processEnvironment(plan.env, {}, this.spec.pty !== undefined),
      cwd: plan.workdir,
      createCwd: true,
      user: plan.user,
      timeoutMs: null,
      stdin: 'pipe',
      stdout: 'pipe',
      stderr: 'pipe',
      pty: this.spec.pty ?? null,
    };
    const process = await this.#processes.start(agent, request, { signal, failureIsExit: true });
    // Who reads the entrypoint's output is told as well.
    if (process.startFailure) throw process.startFailure;
    this.#followEntrypoint();
  }

  #followEntrypoint(): void {
    const process = this.#processes.entrypoint;
    void process?.wait(this.#endedSignal.signal).then(
      (exit) => this.#entrypointExited(process, exit),
      () => {},
    );
  }

  /** Its main process ended: like a container, the sandbox ends with it, once the output is complete. */
  async #entrypointExited(process: ManagedProcess, exit: ProcessExit): Promise<void> {
    const live = this.#live;
    if (!live || this.#ending) return;
    const oomKilled =
      exit.kind === 'signal' &&
      exit.signal === SIGKILL &&
      (await live.instance.stats().catch(() => undefined))?.oomKills;
    await live.agent.killAll(SIGKILL, AbortSignal.timeout(DRAIN_TIMEOUT_MS)).catch(() => {});
    await withDeadline(process.drained, DRAIN_TIMEOUT_MS);
    await this.#end(oomKilled ? { kind: 'out-of-memory' } : { kind: 'exited', exitCode: exitCodeOf(exit) });
  }

  #takeOver(instance: Instance, plan: LaunchPlan): Live {
    const agent = new AgentClient((signal) => instance.dial(signal), this.#context.logger);
    const live = { instance, plan, agent };
    this.#live = live;
    void instance.exited.then((exit) => {
      if (exit.reason === 'destroyed') return;
      const result: SandboxResult =
        exit.reason === 'out-of-memory'
          ? { kind: 'out-of-memory' }
          : { kind: 'crashed', message: exit.message };
      return this.#end(result);
    });
    return live;
  }

  #run(): void {
    if (this.#detached) return;
    if (this.#state === 'starting' || this.#state === 'created') {
      const now = this.#context.now();
      this.#startedAtMs = now;
      this.#deadlineMs = now + this.spec.timeoutMs;
      if (this.#state === 'created') this.#move('starting');
      this.#move('running');
    }
    this.#stopDeadline = setAlarm(
      this.deadlineMs,
      this.#context.now,
      () => void this.#end({ kind: 'timeout' }),
    );
    if (this.spec.idleTimeoutMs !== undefined) {
      this.#idle = new IdleClock(this.spec.idleTimeoutMs, () => void this.#end({ kind: 'idle-timeout' }));
    }
    this.#processes.holdWhileRunning();
    this.#running.resolve();
    this.#probe();
    this.#watchAgent();
  }

  #watchAgent(): void {
    const wake = this.#live?.instance.wake;
    if (!wake || !this.#live) return;
    const watched = {
      agent: this.#live.agent,
      wake,
      isNeeded: () => this.#processes.busy,
      isPaused: () => this.#snapshots > 0,
    };
    void watchAgent(watched, this.#watching.signal).then(
      () => this.#end({ kind: 'crashed', message: 'Its agent does not answer.' }),
      () => {}, // it ends
    );
  }

  #probe(): void {
    const probe = this.spec.readinessProbe;
    if (!probe || !this.#live) return;
    if (this.#readyAtMs !== undefined) {
      this.#ready.resolve(this.#readyAtMs);
      return;
    }
    const { agent, plan } = this.#live;
    void waitUntilProbeSucceeds(
      probe,
      agent,
      { env: plan.env, cwd: plan.workdir, user: plan.user },
      this.#endedSignal.signal,
    ).then(
      () => {
        const readyAtMs = this.#context.now();
        this.#readyAtMs = readyAtMs;
        const { sandboxes, ledger } = this.#context;
        ledger.tell(`ready ${this.id}`, () => sandboxes.setReadyAt(this.id, readyAtMs));
        this.#ready.resolve(readyAtMs);
      },
      () => {}, // the sandbox ended, which rejects the promise by itself
    );
  }

  /** Whether it has to be started again; not when somebody ended it meanwhile. */
  async #discard(instance: Instance): Promise<boolean> {
    this.#live = undefined;
    await instance.destroy();
    if (this.#ending || this.#detached) return false;
    this.#left = undefined;
    return this.#reset();
  }

  /** Back to the beginning: nothing of an interrupted start is kept. */
  #reset(): true {
    this.#state = 'created';
    this.#processes.reset();
    this.forget();
    mkdirSync(this.#outputDir, { recursive: true, mode: 0o700 });
    return true;
  }

  /** Ends it with `result`, unless it is ending already. Resolves once nothing of it is left on the machine. */
  #end(result: SandboxResult): Promise<void> {
    if (this.#state === 'ended' || this.#detached) return Promise.resolve();
    this.#ending ??= this.#stop(result);
    return this.#ending;
  }

  async #stop(result: SandboxResult): Promise<void> {
    this.#result = result;
    if (this.#state !== 'stopping') this.#move('stopping');
    this.#stopClocks();
    this.#stopping.abort(this.#endedError());
    await this.#launching.catch(() => {});
    await this.#takeAway(result);
  }

  /** What is on the machine goes first; nothing that fails on the way keeps it from ending. */
  async #takeAway(result: SandboxResult): Promise<void> {
    const { onStopping } = this.#context;
    for (const step of [() => onStopping(this), () => (this.#live?.instance ?? this.#left)?.destroy()]) {
      try {
        await step();
      } catch (error) {
        this.#destroyFailed(error);
      }
    }
    this.#finish(result);
  }

  /** It has ended all the same: the engine goes on trying to take away what is left of it. */
  #destroyFailed(error: unknown): void {
    this.#context.logger.error({ sandbox: this.id, err: error }, 'sandbox.destroy-failed');
  }

  #finish(result: SandboxResult): void {
    this.#result = result;
    this.#endedAtMs = this.#context.now();
    this.#live = undefined;
    this.#left = undefined;
    this.#move('ended', () => this.#context.onEndStored(this));
    this.#endedSignal.abort(this.#endedError());
    this.#processes.abandon();
    if (result.kind !== 'exited' && result.kind !== 'terminated') this.#log('life', describeResult(result));
    this.#running.reject(this.#endedError());
    this.#ready.reject(this.#endedConflict());
    this.#ended.resolve(result);
    this.#context.onEnded(this);
  }

  #restoreEnded(): void {
    this.#processes.restoreEnded();
    this.#endedSignal.abort(this.#endedError());
    this.#running.reject(this.#endedError());
    if (this.#readyAtMs === undefined) this.#ready.reject(this.#endedConflict());
    else this.#ready.resolve(this.#readyAtMs);
    this.#ended.resolve(this.#result ?? { kind: 'terminated' });
  }

  #stopClocks(): void {
    this.#stopDeadline();
    this.#watching.abort();
    this.#idle?.stop();
  }

  #move(state: SandboxState, onStored?: () => void): void {
    if (!transitions[this.#state].includes(state)) {
      throw new Error(`sandbox ${this.id} cannot go from ${this.#state} to ${state}`);
    }
    this.#state = state;
    const row = {
      id: this.id,
      state,
      result: this.#result,
      startedAtMs: this.#startedAtMs,
      endedAtMs: this.#endedAtMs,
      deadlineMs: this.#deadlineMs,
    };
    const { sandboxes, ledger } = this.#context;
    ledger.tell(`sandbox ${this.id}`, () => sandboxes.update(row), onStored);
    this.#context.logger.info(
      {
        sandbox: this.id,
        task: this.taskId,
        sidecarOf: this.spec.sidecarOf?.sandboxId,
        result: this.#result,
      },
      `sandbox.${state}`,
    );
  }

  #log(kind: SandboxLogEntry['kind'], text: string): void {
    const { taskId } = this.spec.sidecarOf ?? this;
    const { sandboxes, ledger } = this.#context;
    const entry = { timeMs: this.#context.now(), kind, text };
    ledger.tell(undefined, () => sandboxes.addEvent(taskId, entry));
  }

  #entrypointStream(name: 'stdout' | 'stderr'): OutputReader {
    const find = () => this.entrypoint?.[name];
    return (
      find() ??
      new ComingOutput({
        find,
        begun: Promise.race([this.#running.promise, this.#ended.promise]).catch(() => {}),
        over: this.#ended.promise,
        isOver: () => this.#state === 'ended',
      })
    );
  }

  #endedError(): SkerryError {
    return sandboxEnded({ id: this.id, result: this.#result }, this.#label);
  }

  /** The clients document the end of the sandbox as a conflict for its name and its readiness, and as not found for the rest. */
  #endedConflict(): SkerryError {
    return new SkerryError('conflict', this.#endedError().message);
  }

  /** What its callers know it by. */
  get #label(): string {
    const { sidecarOf } = this.spec;
    return sidecarOf ? `Sidecar '${sidecarOf.name}' of ${sidecarOf.sandboxId}` : `Sandbox ${this.id}`;
  }
}

/** A process's directory. The kernel resolves it: what `..` means depends on the links on the way. */
function below(directory: string, path: string | undefined): string {
  if (path === undefined) return directory;
  return path.startsWith('/') ? path : `${directory.replace(/\/$/, '')}/${path}`;
}

/** The error of a name that another running sandbox of the app has. */
export function nameTaken(name: string): SkerryError {
  return new SkerryError('already-exists', `A running sandbox named '${name}' already exists in this app.`);
}
