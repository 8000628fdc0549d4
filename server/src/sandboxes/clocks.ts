/** What runs beside a sandbox while it runs: its deadline, its idle clock, its readiness probe, and the watches over its agent and its memory. */
import { setAlarm } from '../platform/alarm.ts';
import { IdleClock } from './activity.ts';
import { watchAgent } from './agent-watch.ts';
import type { LifeEvent, Running } from './life.ts';
import { waitUntilProbeSucceeds } from './readiness.ts';
import type { SandboxSpec } from './spec.ts';
import type { SandboxResult } from './state.ts';
import type { Tenant } from './tenant.ts';

export interface ClocksParts {
  readonly spec: SandboxSpec;
  readonly now: () => number;
  readonly processes: { readonly busy: boolean };
  readonly ports: { readonly open: number };
  readonly tell: (event: LifeEvent) => void;
  readonly ended: AbortSignal;
}

/** A kill for memory that was seen at two looks is not taken for the cause of an end. At one it may be: its program's end can be on its way. */
const OOM_LOOK_EVERY_MS = 60_000;
/** What could not be suspended is not tried again sooner, unless it was used meanwhile. */
const SUSPEND_AGAIN_MS = 60_000;

export class Clocks {
  readonly #parts: ClocksParts;
  readonly #idle: IdleClock | undefined;
  readonly #stopped = new AbortController();
  /** Aborted when it is being suspended. */
  #resting = new AbortController();
  #hasDeadline = false;
  /** Kills for memory that the sandbox lived through. */
  #oomKillsBefore = 0;
  /** At the last look. */
  #oomKillsSeen = 0;
  /** Looks follow each other. */
  #noting: Promise<void> = Promise.resolve();
  #snapshots = 0;

  constructor(parts: ClocksParts) {
    this.#parts = parts;
    const { idleTimeoutMs, idleAction } = parts.spec;
    if (idleTimeoutMs === undefined) return;
    this.#idle = new IdleClock(idleTimeoutMs, () => {
      if (idleAction === undefined || idleAction === 'end') this.#end({ kind: 'idle-timeout' });
      else parts.tell({ kind: 'suspend' });
    });
  }

  get idle(): IdleClock | undefined {
    return this.#idle;
  }

  /** It runs, in the tenant's instance. */
  start(life: Running, tenant: Tenant): void {
    if (this.#stopped.signal.aborted) return;
    this.startDeadline(life);
    this.#watch(life, tenant);
    this.#idle?.start();
  }

  /** Of one that sleeps as well: its time goes on. */
  startDeadline({ deadlineMs }: Pick<Running, 'deadlineMs'>): void {
    if (this.#hasDeadline || this.#stopped.signal.aborted) return;
    this.#hasDeadline = true;
    const stop = setAlarm(deadlineMs, this.#parts.now, () => this.#end({ kind: 'timeout' }));
    this.#stopped.signal.addEventListener('abort', stop);
  }

  /** It is being suspended: nothing of it is watched. */
  rest(): void {
    this.#resting.abort();
    this.#idle?.stop();
  }

  /** It could not be suspended. */
  stay(life: Running, tenant: Tenant): void {
    if (this.#stopped.signal.aborted) return;
    this.#watch(life, tenant);
    this.#idle?.start(SUSPEND_AGAIN_MS);
  }

  /** Another instance counts from zero. */
  forgetOomKills(): void {
    this.#oomKillsBefore = 0;
    this.#oomKillsSeen = 0;
  }

  #watch(life: Running, tenant: Tenant): void {
    this.#resting = new AbortController();
    const over = AbortSignal.any([this.#stopped.signal, this.#resting.signal]);
    const memory = setInterval(() => {
      const seen = this.#oomKillsSeen;
      void this.#look(tenant, (oomKills) => {
        this.#oomKillsBefore = Math.max(this.#oomKillsBefore, seen);
        this.#oomKillsSeen = oomKills;
      });
    }, OOM_LOOK_EVERY_MS);
    over.addEventListener('abort', () => clearInterval(memory));
    this.#watchAgent(tenant, over);
    if (life.readyAtMs === undefined) this.#probe(tenant, over);
  }

  stop(): void {
    this.#stopped.abort();
    this.#idle?.stop();
  }

  /** While a snapshot is taken the instance may be paused. Returns what ends it. */
  pausing(): () => void {
    this.#snapshots++;
    return () => this.#snapshots--;
  }

  /** What was killed for memory up to now did not end the sandbox. */
  noteOomKills(tenant: Tenant): Promise<void> {
    return this.#look(tenant, (oomKills) => {
      this.#oomKillsBefore = oomKills;
    });
  }

  #look({ instance }: Tenant, note: (oomKills: number) => void): Promise<void> {
    this.#noting = this.#noting
      .then(() => instance.stats())
      .then(
        ({ oomKills }) => note(oomKills),
        () => {}, // it is gone
      );
    return this.#noting;
  }

  /** Whether the kernel killed anything for memory since it was looked at last. */
  async oomKilledSince({ instance }: Tenant): Promise<boolean> {
    await this.#noting;
    const stats = await instance.stats().catch(() => undefined); // it may be gone
    return stats !== undefined && stats.oomKills > this.#oomKillsBefore;
  }

  #watchAgent({ agent, instance }: Tenant, over: AbortSignal): void {
    const watched = {
      agent,
      wake: () => instance.wake(),
      silenceMs: instance.silenceMs,
      isNeeded: () => this.#parts.processes.busy || this.#parts.ports.open > 0,
      isPaused: () => this.#snapshots > 0,
    };
    void watchAgent(watched, over).then(
      () => this.#end({ kind: 'crashed', message: 'Its agent does not answer.' }),
      () => {}, // it ends, or sleeps
    );
  }

  #probe({ agent, plan }: Tenant, over: AbortSignal): void {
    const { spec, ended, tell, now } = this.#parts;
    if (!spec.readinessProbe) return;
    const start = { env: plan.env, cwd: plan.workdir, user: plan.user };
    const signal = AbortSignal.any([ended, over]);
    void waitUntilProbeSucceeds(spec.readinessProbe, agent, start, signal).then(
      () => tell({ kind: 'ready', atMs: now() }),
      () => {}, // it ends, or sleeps
    );
  }

  #end(result: SandboxResult): void {
    this.#parts.tell({ kind: 'end', result });
  }
}
