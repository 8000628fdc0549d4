/**
 * What becomes of a trace of arrivals: the server's own scheduler (admission, the bound on starts, the warm pool with its demand, shares and pace) over an engine that only takes time, by a clock that
 * only counts. The same seed gives the same numbers on every machine.
 */
import { CreateRate } from '../../server/src/auth/create-rate.ts';
import type { Config } from '../../server/src/config/config.ts';
import type { RuntimeName, Tenure } from '../../server/src/engines/engine.ts';
import type { LayerRef } from '../../server/src/engines/references.ts';
import { SkerryError } from '../../server/src/errors/skerry-error.ts';
import { InstanceService } from '../../server/src/instances/instance-service.ts';
import { POOL_SWEEP_MS } from '../../server/src/instances/warm-pool.ts';
import { Limiter } from '../../server/src/platform/limiter.ts';
import { requireRoom } from '../../server/src/sandboxes/quotas.ts';
import { Counts } from '../../server/src/telemetry/counts.ts';
import { createLogger } from '../../server/src/telemetry/logger.ts';
import type { Latencies } from './latencies.ts';
import { Processors } from './processors.ts';
import { randomOf } from './random.ts';
import { SimulatedEngine } from './simulated-engine.ts';
import type { Arrival } from './trace.ts';
import { VirtualClock } from './virtual-clock.ts';

export interface Machines {
  /** Each with a server of its own; creates go to them in turn. */
  readonly count: number;
  readonly processors: number;
  readonly memoryMiB: number;
  /** What each sandbox takes of it, waiting or not. */
  readonly sandboxMiB: number;
}

/** What of the server's settings matters here. */
export type ServerSettings = Pick<
  Config,
  | 'maxSandboxes'
  | 'maxStarting'
  | 'warmPool'
  | 'tokenCreatesPerMinute'
  | 'defaultMemoryMiB'
  | 'defaultMilliCpu'
  | 'defaultPids'
>;

export interface Simulation {
  readonly machines: Machines;
  readonly runtime: RuntimeName;
  readonly latencies: Latencies;
  readonly settings: ServerSettings;
  readonly seed: number;
}

export interface Outcome {
  /** Of each sandbox that started, from its arrival to its first output, ms. */
  readonly waitsMs: readonly number[];
  /** Arrivals that were refused: the server had as many as it may have, or the token had made as many as it may. */
  readonly refused: { readonly room: number; readonly rate: number };
  /** How many were given one that waited. */
  readonly warm: number;
  /** Instances that were made ahead and given to nobody. */
  readonly vain: number;
  /** The most that ran, and that waited for their turn to start, at any moment on all machines. */
  readonly mostRunning: number;
  readonly mostQueued: number;
  /** Of the time of all processors, up to the last start: the part in which they had instances to make. */
  readonly busy: number;
}

export async function simulate(trace: readonly Arrival[], simulation: Simulation): Promise<Outcome> {
  const clock = new VirtualClock();
  const random = randomOf(simulation.seed);
  const machines = Array.from(
    { length: simulation.machines.count },
    () => new Machine(simulation, clock, random),
  );
  const waitsMs: number[] = [];
  let [open, mostRunning, mostQueued, busy] = [trace.length, 0, 0, 0];
  const total = (of: (machine: Machine) => number) => machines.reduce((sum, each) => sum + of(each), 0);
  const onStart = (waitMs: number): void => {
    waitsMs.push(waitMs);
    const passedMs = clock.now() * simulation.machines.processors * machines.length;
    busy = total(({ busyMs }) => busyMs) / passedMs;
  };
  const arrive = async (arrival: Arrival, index: number): Promise<void> => {
    const ended = machines[index % machines.length]?.start(arrival, onStart);
    mostRunning = Math.max(
      mostRunning,
      total(({ running }) => running),
    );
    mostQueued = Math.max(
      mostQueued,
      total(({ queued }) => queued),
    );
    await ended;
    open--;
  };
  let failure: unknown;
  const begin = (index: number): void => {
    const arrival = trace[index];
    if (!arrival) return;
    clock.after(arrival.atMs - clock.now(), () => {
      arrive(arrival, index).catch((error: unknown) => {
        failure = error;
      });
      begin(index + 1);
    });
  };
  begin(0);
  for (const machine of machines) machine.sweep();
  await clock.run(() => {
    if (failure !== undefined) throw failure;
    return open === 0;
  });
  return {
    ...{ waitsMs, mostRunning, mostQueued, busy },
    refused: { room: total(({ refused }) => refused.room), rate: total(({ refused }) => refused.rate) },
    warm: total(({ warm }) => warm),
    vain: total(({ vain }) => vain),
  };
}

class Machine {
  readonly refused = { room: 0, rate: 0 };
  /** From their admission to their end. */
  running = 0;
  readonly #simulation: Simulation;
  readonly #clock: VirtualClock;
  readonly #processors: Processors;
  readonly #engine: SimulatedEngine;
  readonly #instances: InstanceService;
  readonly #starts: Limiter;
  readonly #rate: CreateRate;
  readonly #counts = new Counts();

  constructor(simulation: Simulation, clock: VirtualClock, random: () => number) {
    const { machines, runtime, latencies, settings } = simulation;
    this.#simulation = simulation;
    this.#clock = clock;
    this.#processors = new Processors(machines.processors, clock);
    this.#engine = new SimulatedEngine({ processors: this.#processors, runtime, latencies, random });
    const { memoryMiB: totalMiB, sandboxMiB, processors } = machines;
    this.#instances = new InstanceService({
      ...{ engine: this.#engine, logger: createLogger('silent'), counts: this.#counts, clock, processors },
      warmPool: settings.warmPool,
      memory: async () => ({ totalMiB, availableMiB: totalMiB - this.#engine.size * sandboxMiB }),
    });
    this.#starts = new Limiter(settings.maxStarting);
    this.#rate = new CreateRate(clock.now, 'this token');
  }

  get queued(): number {
    return this.#starts.waiting;
  }

  get warm(): number {
    return this.#counts.warmHits;
  }

  get vain(): number {
    return this.#engine.vain;
  }

  get busyMs(): number {
    return this.#processors.busyMs;
  }

  /** Has the pool look around at its pace, from now on. */
  sweep(): void {
    this.#clock.after(POOL_SWEEP_MS, () => {
      void this.#instances.warm.sweep();
      this.sweep();
    });
  }

  /** Has one come, start and live, or be refused; as `SandboxService` admits and queues them. @param onStart is told how long it took */
  async start({ image, livesMs, token }: Arrival, onStart: (waitMs: number) => void): Promise<void> {
    const { runtime, settings } = this.#simulation;
    const cameAtMs = this.#clock.now();
    if (!this.#isAdmitted(token)) return;
    this.running++;
    const tenure = tenureUnder(settings);
    const { mounts: _, ...expects } = tenure;
    // To this engine any name is one.
    const shape = { layers: [image as LayerRef], runtime };
    const { signal } = new AbortController();
    const { id } = await this.#starts.run(() =>
      this.#instances.start(shape, async () => tenure, signal, { warmth: { expects, label: image } }),
    );
    onStart(this.#clock.now() - cameAtMs);
    await this.#clock.wait(livesMs);
    await this.#instances.destroy(id);
    this.running--;
  }

  #isAdmitted(token: string): boolean {
    const { maxSandboxes, tokenCreatesPerMinute } = this.#simulation.settings;
    return (
      this.#isAllowed('rate', () => this.#rate.take(token, tokenCreatesPerMinute)) &&
      this.#isAllowed('room', () => requireRoom(this.running, maxSandboxes))
    );
  }

  #isAllowed(bound: 'room' | 'rate', ask: () => void): boolean {
    try {
      ask();
      return true;
    } catch (error) {
      if (!(error instanceof SkerryError)) throw error;
      this.refused[bound]++;
      return false;
    }
  }
}

const tenureUnder = ({ defaultMemoryMiB, defaultMilliCpu, defaultPids }: ServerSettings): Tenure => ({
  hostname: 'simulated',
  limits: {
    ...{ memoryMiB: defaultMemoryMiB, milliCpu: defaultMilliCpu },
    ...{ milliCpuRequest: defaultMilliCpu, pids: defaultPids },
  },
  network: { kind: 'open' },
  mounts: [],
});
