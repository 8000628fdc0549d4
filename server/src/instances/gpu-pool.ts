/**
 * Who has which GPU. A sandbox claims some before anything of it is made, in one step that two creates cannot both take; they are free again once the
 * sandbox has ended and nothing is left of the instances that had them, however long their removal takes.
 */
import type { Device, Engine, RuntimeChoice, RuntimeName } from '../engines/engine.ts';
import { SkerryError } from '../errors/skerry-error.ts';
import type { InstanceId, TaskId } from '../ids.ts';

/** What somebody asks for. */
export interface GpuRequest {
  /** In capitals: `H100`, `A100-80GB`; ANY_GPU takes whichever is free. */
  readonly type: string;
  /** At least 1. */
  readonly count: number;
}

export const ANY_GPU = 'ANY';
/** That one sandbox may ask for. */
export const MAX_GPUS = 64;

/** A type as callers write it, in any case; `H100!` is an H100 and nothing better in its place, as Modal has it. Undefined for what is no type. */
export function gpuType(text: string): string | undefined {
  const type = text.toUpperCase().replace(/!$/, '');
  return /^[A-Z0-9][A-Z0-9_+-]{0,62}$/.test(type) ? type : undefined;
}

/** Who claims: a sandbox, or an instance that is nobody's any more and could not be removed. */
type Holder = TaskId | InstanceId;

/** GPUs that somebody has. */
export interface GpuClaim {
  readonly holder: Holder;
  readonly devices: readonly string[];
  /** How long the engine may take to find them, beside all else that a start takes. */
  readonly foundWithinMs: number;
}

interface Held {
  readonly devices: readonly string[];
  readonly foundWithinMs: number;
  /** The runtime that can hand all of them on; undefined for what an earlier server gave. */
  readonly runtime: RuntimeName | undefined;
  /** Those that may have them in use. */
  readonly instances: Set<InstanceId>;
  released: boolean;
}

export class GpuPool {
  readonly #engine: Pick<Engine, 'gpus'>;
  readonly #sharing: number;
  readonly #held = new Map<Holder, Held>();

  /** @param sharing how many may have the same one at once */
  constructor(engine: Pick<Engine, 'gpus'>, sharing: number) {
    this.#engine = engine;
    this.#sharing = sharing;
  }

  /** Those that there are now, for `claim`. */
  list(): Promise<readonly Device[]> {
    return this.#engine.gpus();
  }

  /**
   * Gives some to a holder, at once or not at all. One that has some already has them for this request.
   * @param gpus what `list` gave
   * @throws SkerryError `invalid-argument` when there are not that many of the type, `resource-exhausted` when others have them; both name what there is
   */
  claim(holder: TaskId, request: GpuRequest, runtime: RuntimeChoice, gpus: readonly Device[]): GpuClaim {
    const had = this.#held.get(holder);
    if (had) return { holder, devices: had.devices, foundWithinMs: had.foundWithinMs };
    const { type, count } = request;
    const fitting = fits(request, gpus);
    const wanted = `gpu: ${count} ${count === 1 ? 'GPU' : 'GPUs'}${type === ANY_GPU ? '' : ` of type ${type}`} wanted`;
    if (fitting.length < count) throw new SkerryError('invalid-argument', `${wanted}. ${inventory(gpus)}`);
    const usable = fitting.filter(({ runtimes }) =>
      runtime === 'auto' ? runtimes.size > 0 : runtimes.has(runtime),
    );
    if (usable.length < count) throw notUnder(runtime, usable.length, fitting);
    const free = usable.filter(
      ({ name, foundWithinMs }) => foundWithinMs !== undefined || this.#users(name) < this.#sharing,
    );
    if (free.length < count) {
      throw new SkerryError(
        'resource-exhausted',
        `${wanted}, and ${free.length} of ${usable.length} free. ${inventory(gpus)}`,
      );
    }
    // The least used first, where several may have the same one.
    const given = free.toSorted((a, b) => this.#users(a.name) - this.#users(b.name)).slice(0, count);
    const devices = given.map(({ name }) => name);
    const order: readonly RuntimeName[] = runtime === 'auto' ? ['gvisor', 'runc'] : [runtime];
    const under = order.find((name) => given.every(({ runtimes }) => runtimes.has(name)));
    const foundWithinMs = Math.max(...given.map((device) => device.foundWithinMs ?? 0));
    this.#held.set(holder, { devices, foundWithinMs, runtime: under, instances: new Set(), released: false });
    return { holder, devices, foundWithinMs };
  }

  /** What an earlier server gave to the holder, and the instance that has it. */
  recall(holder: Holder, devices: readonly string[], instance: InstanceId): void {
    if (devices.length === 0) return;
    const released = holder === instance;
    this.#held.set(holder, {
      ...{ devices, foundWithinMs: 0, runtime: undefined, instances: new Set([instance]), released },
    });
  }

  /** What will run the holder, as far as what it claimed decides that. */
  runtimeFor(holder: Holder): RuntimeName | undefined {
    return this.#held.get(holder)?.runtime;
  }

  /** An instance is about to have what the holder claimed. */
  use({ holder }: GpuClaim, instance: InstanceId): void {
    this.#held.get(holder)?.instances.add(instance);
  }

  /** The holder needs them no more. */
  release(holder: Holder): void {
    const held = this.#held.get(holder);
    if (!held) return;
    held.released = true;
    this.#forget(holder, held);
  }

  /** Nothing is left of an instance. */
  gone(instance: InstanceId): void {
    for (const [holder, held] of this.#held) {
      if (held.instances.delete(instance)) this.#forget(holder, held);
    }
  }

  #forget(holder: Holder, held: Held): void {
    if (held.released && held.instances.size === 0) this.#held.delete(holder);
  }

  #users(device: string): number {
    return [...this.#held.values()].filter(({ devices }) => devices.includes(device)).length;
  }
}

/** Those that are what is asked for. Of a kind there may be any number; it is given as often as it is asked for, and for any GPU where it says so itself. */
function fits({ type, count }: GpuRequest, gpus: readonly Device[]): readonly Device[] {
  const kind = gpus.find(({ types, foundWithinMs }) => foundWithinMs !== undefined && types.includes(type));
  if (kind) return Array.from({ length: count }, () => kind);
  return gpus.filter(
    ({ types, foundWithinMs }) => types.includes(type) || (type === ANY_GPU && foundWithinMs === undefined),
  );
}

function notUnder(runtime: RuntimeChoice, usable: number, fitting: readonly Device[]): SkerryError {
  const others = new Set(fitting.flatMap(({ runtimes }) => [...runtimes]));
  const way = others.has('runc') ? ' Under runc they can: runtime="runc".' : '';
  const name = runtime === 'auto' ? 'the runtimes of this server' : runtime;
  return new SkerryError(
    'invalid-argument',
    `gpu: ${usable} of the ${fitting.length} that fit can be used under ${name}.${way}`,
  );
}

const inventory = (gpus: readonly Device[]): string =>
  gpus.length === 0
    ? 'This server has none: `skerry doctor` on its machine says why.'
    : gpus.some(({ foundWithinMs }) => foundWithinMs !== undefined)
      ? `This server knows ${gpus.flatMap(({ types }) => types).join(', ')}.`
      : `This server has ${counted(gpus)}.`;

/** "2 × A100-80GB, 1 × of no known type" */
function counted(gpus: readonly Device[]): string {
  const counts = new Map<string, number>();
  for (const { types } of gpus) {
    const type = types[0] ?? 'of no known type (gpu="any")';
    counts.set(type, (counts.get(type) ?? 0) + 1);
  }
  return [...counts].map(([type, count]) => `${count} × ${type}`).join(', ');
}
