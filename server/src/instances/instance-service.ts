/**
 * What runs, apart from whom it runs for. Whoever needs an instance gets it here, and takes it away here: then it goes, at once or as soon as that can be, and
 * what became nobody's goes by itself.
 */
import { availableParallelism } from 'node:os';
import type {
  Capabilities,
  Engine,
  Expected,
  Instance,
  IsLeft,
  Isolation,
  Prepared,
  RuntimeChoice,
  Shape,
  Tenure,
} from '../engines/engine.ts';
import type { CheckpointRef } from '../engines/references.ts';
import { SkerryError } from '../errors/skerry-error.ts';
import { type InstanceId, newInstanceId, type TaskId } from '../ids.ts';
import { type Clock, systemClock } from '../platform/clock.ts';
import { type FaultPoint, noFaultPoint } from '../platform/fault-points.ts';
import { type MachineMemory, machineMemory } from '../platform/machine-memory.ts';
import type { Phases } from '../platform/phases.ts';
import { Counts } from '../telemetry/counts.ts';
import type { Logger } from '../telemetry/logger.ts';
import { type GpuClaim, GpuPool } from './gpu-pool.ts';
import { Reaper } from './reaper.ts';
import { type Warmed, WarmPool, type WarmShape } from './warm-pool.ts';

export interface InstanceServiceParts {
  /** Must be open, and is closed after this. */
  readonly engine: Engine;
  readonly logger: Logger;
  /** How many sandboxes may have the same GPU at once; 1 by default. */
  readonly gpuSharing?: number;
  /** How many may wait for somebody; 0 by default. */
  readonly warmPool?: number;
  readonly counts?: Counts;
  /** Of what instances are on: that of the machine by default. */
  readonly memory?: () => Promise<MachineMemory>;
  /** For tests and simulations, likewise. */
  readonly processors?: number;
  readonly clock?: Clock;
  /** Before the first new try to destroy what could not be; 1 s by default. */
  readonly firstPauseMs?: number;
  /** For tests that end the server at a chosen moment. */
  readonly faultPoint?: FaultPoint;
}

export interface NewShape extends Omit<Shape, 'id' | 'devices'> {
  /** What it is for has claimed these. */
  readonly gpus?: GpuClaim;
}

/** What of an instance is known before it is somebody's. */
export interface Placed extends Pick<Prepared, 'id' | 'runtime' | 'firstId'> {
  /** Whether it waited for somebody. */
  readonly waited: boolean;
}

/** What makes that one may have waited for somebody. */
export interface Warmth {
  readonly expects: Expected;
  /** What those who ask call what it is made of. */
  readonly label: string;
}

/** Those with which the machine says that it has no room for another. */
const ROOM_ERRORS: ReadonlySet<string> = new Set(['resource-exhausted', 'disk-full']);

export class InstanceService {
  /** Who has which of the engine's. */
  readonly gpus: GpuPool;
  /** Those that wait for somebody. */
  readonly warm: WarmPool;
  readonly #engine: Engine;
  readonly #logger: Logger;
  readonly #reaper: Reaper;
  readonly #faultPoint: FaultPoint;
  /** Those that are nobody's yet. */
  readonly #unbound = new Map<InstanceId, 'waiting' | 'binding'>();
  /** Starts under way. */
  #starting = 0;
  /** Of these, how many were given none that waited. */
  #startingCold = 0;
  #closing = false;

  constructor(parts: InstanceServiceParts) {
    const { engine, logger, firstPauseMs, gpuSharing = 1, faultPoint = noFaultPoint } = parts;
    const { warmPool: max = 0, memory = machineMemory, counts = new Counts() } = parts;
    const { processors = availableParallelism(), clock = systemClock } = parts;
    this.#engine = engine;
    this.gpus = new GpuPool(engine, gpuSharing);
    this.#logger = logger;
    this.#reaper = new Reaper(logger, firstPauseMs);
    this.#faultPoint = faultPoint;
    this.warm = new WarmPool({
      ...{ max, memory, processors, clock, counts, logger, faultPoint },
      make: (shape, signal) => this.prepare(shape, signal),
      discard: (id) => this.#discard(id),
      starts: () => (this.#starting === 0 ? 'none' : this.#startingCold === 0 ? 'given' : 'made'),
    });
  }

  /**
   * What an instance will have that is made now.
   * @param holder for whom; GPUs that it claimed may not be had under each runtime
   * @see Engine.isolationUnder @throws SkerryError as `Engine.runtimeFor`
   */
  isolationFor(choice: RuntimeChoice, holder: TaskId): Isolation {
    return this.#engine.isolationUnder(this.gpus.runtimeFor(holder) ?? this.#engine.runtimeFor(choice));
  }

  /** Whether instances with this choice can have a disk of their own. @throws SkerryError `unavailable` */
  boundsDisk(choice: RuntimeChoice): boolean {
    return this.#capabilities(choice).disk;
  }

  /** Whether checkpoints of instances with this choice can be made. @throws SkerryError `unavailable` */
  takesCheckpoints(choice: RuntimeChoice): boolean {
    return this.#capabilities(choice).checkpoints;
  }

  /** @see Engine.requireRestorable */
  requireRestorable(from: CheckpointRef): Promise<void> {
    return this.#engine.requireRestorable(from);
  }

  /** Whether instances with this choice can have buckets. @throws SkerryError `unavailable` */
  mountsBuckets(choice: RuntimeChoice): boolean {
    return this.#capabilities(choice).buckets;
  }

  #capabilities(choice: RuntimeChoice): Capabilities {
    return this.#engine.capabilities(this.#engine.runtimeFor(choice));
  }

  /**
   * Makes an instance that is nobody's, with an id of its own. If it never becomes somebody's, it goes when the server does.
   * @throws SkerryError as `Engine.prepare` and `Prepared.bind`
   */
  async prepare({ gpus, ...rest }: NewShape, signal: AbortSignal, phases?: Phases): Promise<Prepared> {
    if (this.#closing) throw new SkerryError('unavailable', 'The server is shutting down.');
    const id = newInstanceId();
    this.#unbound.set(id, 'waiting');
    if (gpus) this.gpus.use(gpus, id);
    const shape = { ...rest, id, ...(gpus ? { devices: gpus.devices } : {}) };
    const prepared = await this.#orNothing(id, () => this.#engine.prepare(shape, signal, phases));
    this.#faultPoint('instance.prepared');
    const { runtime, firstId, died } = prepared;
    return {
      id,
      runtime,
      firstId,
      died,
      bind: (tenure, abort, spent) => this.#bind(prepared, tenure, abort, spent),
    };
  }

  /**
   * Makes an instance for somebody in one go.
   * @param tenureOf what it is given, which may depend on what was prepared; asked again when that one could not be bound, and another is made
   * @param more.warmth what it will be given, for one that may have waited for somebody
   * @param more.phases has how long which part took then
   * @throws SkerryError as `prepare`; what `tenureOf` throws
   */
  async start(
    shape: NewShape,
    tenureOf: (prepared: Placed) => Promise<Tenure>,
    signal: AbortSignal,
    { warmth, phases }: { readonly warmth?: Warmth | undefined; readonly phases?: Phases } = {},
  ): Promise<Instance> {
    this.#starting++;
    try {
      const waiting = warmth && this.warm.take(this.#warmShape(shape, warmth.expects), warmth.label);
      const instance = waiting && (await this.#give(waiting, tenureOf, signal, phases));
      if (instance) return instance;
      this.#startingCold++;
      return await this.#startCold(shape, tenureOf, signal, phases).finally(() => this.#startingCold--);
    } finally {
      if (--this.#starting === 0) this.warm.refillSoon();
    }
  }

  /** Has so many wait for somebody. @throws SkerryError as `WarmPool.warm` */
  keepWarm(
    shape: Pick<Shape, 'layers' | 'runtime' | 'disk'>,
    { expects, label }: Warmth,
    wish: { readonly count: number; readonly forMs: number },
    signal: AbortSignal,
  ): Promise<Warmed> {
    return this.warm.warm(this.#warmShape(shape, expects), label, wish, signal);
  }

  /**
   * After a restart, or when another server is gone: what of these still lives. All else that it left is nobody's, and goes, at once or as soon as it can.
   * @param of @see Engine.adopt
   */
  async adopt(ids: ReadonlySet<InstanceId>, of?: IsLeft): Promise<ReadonlyMap<InstanceId, Instance>> {
    const { instances, left } = await this.#engine.adopt(ids, of);
    for (const [id, devices] of left) {
      this.gpus.recall(id, devices, id);
      this.#reaper.retry(id, () => this.#remove(id));
    }
    return instances;
  }

  /** Whether one waits for somebody. */
  hasWarm(shape: Pick<Shape, 'layers' | 'runtime' | 'disk'>, expects: Expected): boolean {
    return this.warm.has(this.#warmShape(shape, expects));
  }

  /** Takes away whatever there is of an instance. @throws what kept something of it on the machine; it is tried again until nothing is left */
  async destroy(id: InstanceId): Promise<void> {
    try {
      await this.#remove(id);
    } catch (error) {
      this.#reaper.retry(id, () => this.#remove(id));
      throw error;
    }
  }

  /** Takes away what is nobody's, and leaves the rest: a restart may adopt it. What cannot be removed is the next server's. */
  async close(): Promise<void> {
    this.#closing = true;
    await this.warm.close();
    await Promise.all([...this.#unbound.keys()].map((id) => this.#discard(id)));
    await this.#reaper.close();
  }

  #warmShape(
    { layers, runtime, disk }: Pick<Shape, 'layers' | 'runtime' | 'disk'>,
    expects: Expected,
  ): WarmShape {
    return { layers, runtime: this.#engine.runtimeFor(runtime), ...(disk && { disk }), expects };
  }

  async #startCold(
    shape: NewShape,
    tenureOf: (prepared: Placed) => Promise<Tenure>,
    signal: AbortSignal,
    phases?: Phases,
  ): Promise<Instance> {
    const prepared = await this.prepare(shape, signal, phases).catch(async (error: unknown) => {
      const lacksRoom = error instanceof SkerryError && ROOM_ERRORS.has(error.code);
      if (!lacksRoom || (await this.warm.drain()) === 0) throw error;
      return this.prepare(shape, signal, phases); // in the room of those that waited
    });
    const tenure = await this.#orNothing(prepared.id, () => tenureOf({ ...prepared, waited: false }));
    return prepared.bind(tenure, signal, phases);
  }

  /** One that waited, made somebody's; undefined when it could not be, and nothing is left of it. @throws what `tenureOf` throws; the signal's reason */
  async #give(
    prepared: Prepared,
    tenureOf: (prepared: Placed) => Promise<Tenure>,
    signal: AbortSignal,
    phases?: Phases,
  ): Promise<Instance | undefined> {
    const tenure = await this.#orNothing(prepared.id, () => tenureOf({ ...prepared, waited: true }));
    try {
      return await prepared.bind(tenure, signal, phases);
    } catch (err) {
      signal.throwIfAborted();
      this.#logger.warn({ instance: prepared.id, err }, 'warm-pool.not-bound');
      return undefined;
    }
  }

  async #remove(id: InstanceId): Promise<void> {
    await this.#engine.destroy(id);
    this.gpus.gone(id);
  }

  async #bind(prepared: Prepared, tenure: Tenure, signal: AbortSignal, phases?: Phases): Promise<Instance> {
    const { id } = prepared;
    // The engine says why that cannot be.
    if (this.#unbound.get(id) !== 'waiting') return prepared.bind(tenure, signal, phases);
    this.#unbound.set(id, 'binding');
    const instance = await this.#orNothing(id, () => prepared.bind(tenure, signal, phases));
    this.#unbound.delete(id);
    this.#faultPoint('instance.bound');
    return instance;
  }

  /** What `work` gives; when it fails, nothing of the instance is to stay. */
  async #orNothing<T>(id: InstanceId, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      await this.#discard(id);
      throw error;
    }
  }

  /** Never rejects: what became of an instance that nobody has matters to nobody but the log. */
  async #discard(id: InstanceId): Promise<void> {
    this.#unbound.delete(id);
    await this.destroy(id).catch((err: unknown) => {
      this.#logger.error({ instance: id, err }, 'instance.destroy-failed');
    });
  }
}
