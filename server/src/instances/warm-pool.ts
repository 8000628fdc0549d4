/**
 * Instances that are up before anybody asks for them: each was made for what is expected, is given away once, and is nobody's until then. How many of which kind wait
 * follows from what was asked for (`demand.ts`), up to a number and a share of the machine's memory. They are made while nobody waits for a start, or at a
 * bounded pace beside starts (`refill-pace.ts`).
 */
import type { Expected, Prepared, RuntimeName, Shape } from '../engines/engine.ts';
import type { LayerRef } from '../engines/references.ts';
import { SkerryError } from '../errors/skerry-error.ts';
import type { InstanceId } from '../ids.ts';
import type { Clock } from '../platform/clock.ts';
import type { FaultPoint } from '../platform/fault-points.ts';
import type { MachineMemory } from '../platform/machine-memory.ts';
import { unlessAborted } from '../platform/wait.ts';
import type { Counts } from '../telemetry/counts.ts';
import type { Logger } from '../telemetry/logger.ts';
import { allot } from './allotment.ts';
import { Demand } from './demand.ts';
import { RefillPace, type Starts } from './refill-pace.ts';

/** What an instance is made as: two that are the same here are the same to everybody. */
export interface WarmShape extends Pick<Shape, 'layers' | 'disk'> {
  readonly runtime: RuntimeName;
  readonly expects: Expected;
}

export interface WarmPoolParts {
  /** So many wait at most; 0: none ever. */
  readonly max: number;
  readonly make: (shape: WarmShape, signal: AbortSignal) => Promise<Prepared>;
  /** Takes one away again; never rejects. */
  readonly discard: (id: InstanceId) => Promise<void>;
  /** Who waits for a start: then few are made, or none. */
  readonly starts: () => Starts;
  readonly memory: () => Promise<MachineMemory>;
  /** How many the machine has; while nobody waits for a start, half of them make instances ahead. */
  readonly processors: number;
  readonly clock: Clock;
  readonly counts: Counts;
  readonly logger: Logger;
  readonly faultPoint: FaultPoint;
}

/** What waits of one kind, and what became of those who asked for it. */
export interface WarmKind {
  /** What those called it who asked for it last. */
  readonly label: string;
  readonly runtime: RuntimeName;
  readonly memoryMiB: number;
  readonly milliCpu: number;
  readonly network: Expected['network']['kind'];
  readonly waiting: number;
  readonly making: number;
  /** How many are to wait. */
  readonly wanted: number;
  /** Who asked and got one that waited, and who did not. */
  readonly hits: number;
  readonly misses: number;
}

/** What became of a wish for some. */
export interface Warmed {
  readonly waiting: number;
  /** Why they are not as many as were wished for. */
  readonly bound?: 'pool' | 'memory';
}

interface Kind {
  readonly shape: WarmShape;
  readonly demand: Demand;
  /** Aborted when none of it is to be made any more. */
  readonly over: AbortController;
  readonly waiting: Prepared[];
  label: string;
  making: number;
  /** Resolves when the next one that is being made is there, or cannot be. */
  made: PromiseWithResolvers<void>;
  hits: number;
  misses: number;
  /** Somebody wished for so many until then. */
  wish: { readonly count: number; readonly untilMs: number };
  /** After failures none is made for a while. */
  failures: number;
  pausedUntilMs: number;
}

/** What one takes while it waits, generously: measured were 2 and 15 to 19. */
const MEMORY_MIB: Readonly<Record<RuntimeName, number>> = { runc: 4, gvisor: 24 };
/** All together take no more than this part of what is available. */
const MEMORY_SHARE = 1 / 16;
/** Below this part of the machine's memory available none waits, and none is made before the second is available again. */
const PRESSED = 0.1;
const RELIEVED = 0.15;
/** A refill waits this long, so that it does not compete with the start that took one. */
const REFILL_DELAY_MS = 100;
const FIRST_PAUSE_MS = 1_000;
const LONGEST_PAUSE_MS = 60_000;
/** What room somebody needed is left to them for this long. */
const DRAINED_PAUSE_MS = 10_000;
/** Kinds that are remembered; others are not made ahead. */
const MAX_KINDS = 256;
/** After so many in a row were made for kinds that nobody asked for again, a kind must be asked for twice. */
const MOST_IN_VAIN = 4;
/** How often `sweep` is to be called. */
export const POOL_SWEEP_MS = 5_000;

export class WarmPool {
  readonly #parts: WarmPoolParts;
  readonly #kinds = new Map<string, Kind>();
  readonly #makers = new Set<Promise<void>>();
  readonly #pace = new RefillPace();
  /** Calls the next refill off. */
  #callOff: (() => void) | undefined;
  #budgetMiB = 0;
  #isPressed = false;
  #inVain = 0;
  #isClosed = false;

  constructor(parts: WarmPoolParts) {
    this.#parts = parts;
  }

  /** Somebody asks for one. @returns one that nobody else gets; undefined when the caller must make their own. Either way others are made soon */
  take(shape: WarmShape, label: string): Prepared | undefined {
    const kind = this.#isOff ? undefined : this.#kindOf(shape, label);
    if (!kind) return undefined;
    kind.demand.note(this.#now);
    const taken = kind.waiting.shift();
    if (taken) {
      kind.hits++;
      this.#parts.counts.warmHits++;
      kind.failures = 0;
      this.#inVain = 0;
      this.#pace.gave(this.#now);
      this.#parts.faultPoint('warm.taken');
    } else {
      kind.misses++;
      this.#parts.counts.warmMisses++;
    }
    this.refillSoon();
    return taken;
  }

  /** Whether one waits. */
  has(shape: WarmShape): boolean {
    return !this.#isOff && (this.#kinds.get(keyOf(shape))?.waiting.length ?? 0) > 0;
  }

  /**
   * Has so many wait now, and made anew when they are taken, for that long.
   * @throws SkerryError `unavailable` when it is off, `invalid-argument` for more than can wait; what keeps one from being made
   */
  async warm(
    shape: WarmShape,
    label: string,
    wish: { readonly count: number; readonly forMs: number },
    signal: AbortSignal,
  ): Promise<Warmed> {
    const { max } = this.#parts;
    if (this.#isOff) throw new SkerryError('unavailable', 'The warm pool is off: see --warm-pool.');
    if (wish.count > max)
      throw new SkerryError('invalid-argument', `At most ${max} can wait: see --warm-pool.`);
    const kind = this.#kindOf(shape, label);
    if (!kind) throw new SkerryError('resource-exhausted', `${MAX_KINDS} kinds are remembered already.`);
    kind.wish = { count: wish.count, untilMs: this.#now + wish.forMs };
    kind.pausedUntilMs = 0;
    const either = AbortSignal.any([signal, kind.over.signal]);
    while (kind.waiting.length < wish.count) {
      either.throwIfAborted();
      await this.#look();
      await this.#trim();
      if (this.#allotted(kind) <= kind.waiting.length)
        return {
          waiting: kind.waiting.length,
          bound: this.#isPressed || this.#weight >= this.#budgetMiB ? 'memory' : 'pool',
        };
      // One that is being made already counts: else there were more than were wished for.
      const missing = wish.count - kind.waiting.length - kind.making;
      await (missing > 0 ? this.#makeOne(kind, either) : unlessAborted(kind.made.promise, either));
    }
    return { waiting: kind.waiting.length };
  }

  /** Takes away all that wait, for somebody who has no room else. @returns how many */
  async drain(): Promise<number> {
    const untilMs = this.#now + DRAINED_PAUSE_MS;
    for (const kind of this.#kinds.values()) kind.pausedUntilMs = Math.max(kind.pausedUntilMs, untilMs);
    return this.#discard([...this.#kinds.values()].flatMap(({ waiting }) => waiting.splice(0)));
  }

  /** These layers are about to go: nothing that is made of them stays. */
  async forget(layers: ReadonlySet<LayerRef>): Promise<void> {
    const gone = [...this.#kinds].filter(([, { shape }]) => shape.layers.some((layer) => layers.has(layer)));
    await Promise.all(gone.map(([key, kind]) => this.#end(key, kind)));
  }

  /** Looks at demand and memory, takes away what is too much, and makes what is missing. Called every `POOL_SWEEP_MS`. */
  async sweep(): Promise<void> {
    if (this.#isOff) return;
    const nowMs = this.#now;
    for (const [key, kind] of this.#kinds) {
      if (!kind.demand.isOver(nowMs) || nowMs < kind.wish.untilMs) continue;
      if (kind.hits === 0 && kind.waiting.length > 0) this.#inVain++;
      await this.#end(key, kind);
    }
    await this.#look();
    await this.#trim();
    this.refillSoon();
  }

  /** Makes what is missing, in the background, when its pace allows that. */
  refillSoon(): void {
    if (this.#isOff || this.#callOff) return;
    this.#callOff = this.#parts.clock.after(REFILL_DELAY_MS, () => {
      this.#callOff = undefined;
      this.#refill();
    });
  }

  kinds(): readonly WarmKind[] {
    const wanted = this.#wanted();
    return [...this.#kinds.values()].map((kind) => {
      const { label, making, hits, misses, shape } = kind;
      const { limits, network } = shape.expects;
      return {
        ...{ label, making, hits, misses },
        runtime: shape.runtime,
        memoryMiB: limits.memoryMiB,
        milliCpu: limits.milliCpu,
        network: network.kind,
        waiting: kind.waiting.length,
        wanted: wanted.get(kind) ?? 0,
      };
    });
  }

  /** Makes none any more, and ends when none is being made. Those that wait are its owner's to take away. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#callOff?.();
    for (const { over } of this.#kinds.values()) over.abort(closing());
    await Promise.all(this.#makers);
  }

  get #now(): number {
    return this.#parts.clock.now();
  }

  get #isOff(): boolean {
    return this.#isClosed || this.#parts.max === 0;
  }

  /** Of all that wait or are being made. */
  get #weight(): number {
    let weight = 0;
    for (const kind of this.#kinds.values()) weight += weightOf(kind) * (kind.waiting.length + kind.making);
    return weight;
  }

  get #making(): number {
    return [...this.#kinds.values()].reduce((sum, { making }) => sum + making, 0);
  }

  #kindOf(shape: WarmShape, label: string): Kind | undefined {
    const key = keyOf(shape);
    const known = this.#kinds.get(key);
    if (known) {
      known.label = label;
      return known;
    }
    if (this.#kinds.size >= MAX_KINDS) return undefined;
    const kind: Kind = {
      ...{ shape, label, demand: new Demand(), over: new AbortController(), waiting: [] },
      made: Promise.withResolvers(),
      ...{ making: 0, hits: 0, misses: 0, failures: 0, pausedUntilMs: 0, wish: { count: 0, untilMs: 0 } },
    };
    this.#kinds.set(key, kind);
    return kind;
  }

  #wanted(): ReadonlyMap<Kind, number> {
    const nowMs = this.#now;
    const claims = [...this.#kinds.values()].map((kind) => {
      const { demand, wish, hits, misses } = kind;
      const askedOnce = hits + misses === 1;
      const expected = askedOnce && this.#inVain >= MOST_IN_VAIN ? 0 : demand.expected(nowMs);
      const wished = nowMs < wish.untilMs ? wish.count : 0;
      return { of: kind, count: Math.max(expected, wished), weight: weightOf(kind) };
    });
    return allot(claims, { count: this.#parts.max, weight: this.#budgetMiB });
  }

  #allotted(kind: Kind): number {
    return this.#wanted().get(kind) ?? 0;
  }

  /** Looks how much memory there is for the pool. */
  async #look(): Promise<void> {
    const { availableMiB, totalMiB } = await this.#parts.memory();
    this.#isPressed = availableMiB < totalMiB * (this.#isPressed ? RELIEVED : PRESSED);
    this.#budgetMiB = this.#isPressed ? 0 : (availableMiB + this.#weight) * MEMORY_SHARE;
  }

  async #trim(): Promise<void> {
    const wanted = this.#wanted();
    const surplus = [...this.#kinds.values()].flatMap((kind) =>
      kind.waiting.splice(Math.max(0, (wanted.get(kind) ?? 0) - kind.making)),
    );
    await this.#discard(surplus);
  }

  #refill(): void {
    const makers = Math.max(1, Math.floor(this.#parts.processors / 2));
    while (!this.#isOff && this.#makers.size < makers) {
      const maker = this.#fill().finally(() => this.#makers.delete(maker));
      this.#makers.add(maker);
    }
  }

  /** Never rejects. */
  async #fill(): Promise<void> {
    try {
      await this.#look();
      await this.#trim();
      for (let kind = this.#mostLacking(); kind; kind = this.#mostLacking()) {
        await this.#makeOne(kind, kind.over.signal).catch(() => {}); // it was told of, and is tried again after a pause
        await this.#look();
      }
    } catch (err) {
      this.#parts.logger.warn({ err }, 'warm-pool.refill-failed');
    }
  }

  /** Of which one is to be made now. */
  #mostLacking(): Kind | undefined {
    if (this.#isOff) return undefined;
    const nowMs = this.#now;
    // Asked each time, so that it knows when there was a rest.
    const isAllowed = this.#pace.allows(nowMs, { starts: this.#parts.starts(), making: this.#making });
    let most: { readonly kind: Kind; readonly part: number } | undefined;
    for (const [kind, wanted] of this.#wanted()) {
      const part = 1 - (kind.waiting.length + kind.making) / wanted;
      if (part > (most?.part ?? 0) && nowMs >= kind.pausedUntilMs) most = { kind, part };
    }
    if (most && !isAllowed) this.refillSoon();
    return isAllowed ? most?.kind : undefined;
  }

  async #makeOne(kind: Kind, signal: AbortSignal): Promise<void> {
    const { make, starts, logger, faultPoint } = this.#parts;
    const startedAtMs = this.#now;
    kind.making++;
    try {
      const prepared = await make(kind.shape, signal);
      faultPoint('warm.made');
      kind.waiting.push(prepared);
      if (kind.over.signal.aborted) await this.#discard(kind.waiting.splice(0));
      void prepared.died.then(() => this.#died(kind, prepared));
    } catch (err) {
      this.#pause(kind);
      if (!signal.aborted) logger.warn({ image: kind.label, err }, 'warm-pool.not-made');
      throw err;
    } finally {
      kind.making--;
      this.#pace.took(this.#now, this.#now - startedAtMs, starts());
      kind.made.resolve();
      kind.made = Promise.withResolvers();
    }
  }

  #died(kind: Kind, prepared: Prepared): void {
    const index = kind.waiting.indexOf(prepared);
    if (index < 0) return;
    kind.waiting.splice(index, 1);
    this.#parts.logger.warn({ instance: prepared.id, image: kind.label }, 'warm-pool.died');
    this.#pause(kind);
    void this.#discard([prepared]);
    this.refillSoon();
  }

  #pause(kind: Kind): void {
    const pauseMs = Math.min(FIRST_PAUSE_MS * 2 ** kind.failures++, LONGEST_PAUSE_MS);
    kind.pausedUntilMs = this.#now + pauseMs;
    this.#parts.clock.after(pauseMs, () => this.refillSoon());
  }

  async #end(key: string, kind: Kind): Promise<void> {
    this.#kinds.delete(key);
    kind.over.abort(new SkerryError('not-found', 'The image was removed, or nobody asked for it any more.'));
    await this.#discard(kind.waiting.splice(0));
  }

  async #discard(unwanted: readonly Prepared[]): Promise<number> {
    await Promise.all(unwanted.map(({ id }) => this.#parts.discard(id)));
    return unwanted.length;
  }
}

const closing = (): SkerryError => new SkerryError('unavailable', 'The server is shutting down.');
const weightOf = ({ shape }: Pick<Kind, 'shape'>): number => MEMORY_MIB[shape.runtime];

function keyOf({ layers, runtime, disk, expects }: WarmShape): string {
  const { memoryMiB, milliCpu, milliCpuRequest, pids } = expects.limits;
  return JSON.stringify([
    ...[layers, runtime, disk?.sizeMiB, disk?.files],
    ...[memoryMiB, milliCpu, milliCpuRequest, pids, expects.hostname, expects.network],
  ]);
}
