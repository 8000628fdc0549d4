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

export class Clocks {
  readonly #parts: ClocksParts;
  #idle: IdleClock | undefined;
  readonly #stopped = new AbortController();
  /** Kills for memory that the sandbox lived through. */
  #oomKillsBefore = 0;
  /** At the last look. */
  #oomKillsSeen = 0;
  /** Looks follow each other. */
  #noting: Promise<void> = Promise.resolve();
  #snapshots = 0;

  constructor(parts: ClocksParts) {
    this.#parts = parts;
  }

  get idle(): IdleClock | undefined {
    return this.#idle;
  }

  start(life: Running, tenant: Tenant): void {
    const { spec, now } = this.#parts;
    if (this.#stopped.signal.aborted) return;
    const stopDeadline = setAlarm(life.deadlineMs, now, () => this.#end({ kind: 'timeout' }));
    if (spec.idleTimeoutMs !== undefined) {
      this.#idle = new IdleClock(spec.idleTimeoutMs, () => this.#end({ kind: 'idle-timeout' }));
    }
    const memory = setInterval(() => {
      const seen = this.#oomKillsSeen;
      void this.#look(tenant, (oomKills) => {
        this.#oomKillsBefore = Math.max(this.#oomKillsBefore, seen);
        this.#oomKillsSeen = oomKills;
      });
    }, OOM_LOOK_EVERY_MS);
    this.#stopped.signal.addEventListener('abort', () => {
      stopDeadline();
      clearInterval(memory);
      this.#idle?.stop();
    });
    this.#watchAgent(tenant);
    if (life.readyAtMs === undefined) this.#probe(tenant);
  }

  stop(): void {
    this.#stopped.abort();
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

  #watchAgent({ agent, instance }: Tenant): void {
    const watched = {
      agent,
      wake: () => instance.wake(),
      isNeeded: () => this.#parts.processes.busy || this.#parts.ports.open > 0,
      isPaused: () => this.#snapshots > 0,
    };
    void watchAgent(watched, this.#stopped.signal).then(
      () => this.#end({ kind: 'crashed', message: 'Its agent does not answer.' }),
      () => {}, // it ends
    );
  }

  #probe({ agent, plan }: Tenant): void {
    const { spec, ended, tell, now } = this.#parts;
    if (!spec.readinessProbe) return;
    const start = { env: plan.env, cwd: plan.workdir, user: plan.user };
    void waitUntilProbeSucceeds(spec.readinessProbe, agent, start, ended).then(
      () => tell({ kind: 'ready', atMs: now() }),
      () => {}, // the sandbox ended
    );
  }

  #end(result: SandboxResult): void {
    this.#parts.tell({ kind: 'end', result });
  }
}
