/**
 * An engine that runs nothing: its instances take time and memory. It passes no conformance suite, since whoever looks at what an instance does finds nothing; what decides
 * when one is made, and who is given it, asks for no more than this.
 */
import type {
  Adopted,
  Capabilities,
  Engine,
  Instance,
  Prepared,
  RuntimeChoice,
  RuntimeName,
  Shape,
} from '../../server/src/engines/engine.ts';
import { noCapabilities } from '../../server/src/engines/testing/no-capabilities.ts';
import { SkerryError } from '../../server/src/errors/skerry-error.ts';
import type { InstanceId } from '../../server/src/ids.ts';
import type { Latencies } from './latencies.ts';
import type { Processors } from './processors.ts';
import type { Random } from './random.ts';

export interface SimulatedEngineParts {
  readonly runtime: RuntimeName;
  readonly processors: Processors;
  readonly latencies: Latencies;
  readonly random: Random;
}

export class SimulatedEngine implements Engine {
  readonly name = 'simulated';
  readonly keptDisks = undefined;
  readonly #parts: SimulatedEngineParts;
  readonly #unbound = new Set<InstanceId>();
  readonly #bound = new Set<InstanceId>();
  /** How many were made for nobody. */
  vain = 0;

  constructor(parts: SimulatedEngineParts) {
    this.#parts = parts;
  }

  /** How many there are, whosever they are. */
  get size(): number {
    return this.#unbound.size + this.#bound.size;
  }

  async check(): Promise<[]> {
    return [];
  }

  async open(): Promise<void> {}

  runtimeFor(choice: RuntimeChoice): RuntimeName {
    const { runtime } = this.#parts;
    if (choice === 'auto' || choice === runtime) return runtime;
    throw new SkerryError('unavailable', `This simulation has no ${choice}.`);
  }

  capabilities(): Capabilities {
    return noCapabilities;
  }

  isolationUnder(runtime: RuntimeName): RuntimeName {
    return runtime;
  }

  async gpus(): Promise<[]> {
    return [];
  }

  async requireRestorable(): Promise<void> {
    throw new SkerryError('unimplemented', 'Nothing was kept.');
  }

  async prepare({ id, runtime }: Shape, signal: AbortSignal): Promise<Prepared> {
    const { making, giving } = this.#parts.latencies;
    this.#unbound.add(id);
    await this.#take(making, signal);
    return {
      ...{ id, runtime: this.runtimeFor(runtime) },
      died: new Promise(() => {}),
      bind: async (_, abort) => {
        this.#unbound.delete(id);
        this.#bound.add(id);
        await this.#take(giving, abort);
        // Nobody here asks it for anything but its id.
        return { id } as Instance;
      },
    };
  }

  async adopt(): Promise<Adopted> {
    return { instances: new Map(), left: new Map() };
  }

  async destroy(id: InstanceId): Promise<void> {
    if (this.#unbound.delete(id)) this.vain++;
    this.#bound.delete(id);
  }

  async close(): Promise<void> {}

  async remove(): Promise<void> {}

  async #take(ms: Latencies['making'], signal: AbortSignal): Promise<void> {
    const { processors, random } = this.#parts;
    await processors.do(ms(random()));
    signal.throwIfAborted();
  }
}
