/** The GPUs of this machine that sandboxes can have: CDI devices of the class `gpu`, each once, with the types they can be asked for by. */
import type { Config } from '../../../config/config.ts';
import { SkerryError } from '../../../errors/skerry-error.ts';
import type { Device, RuntimeChoice, RuntimeName } from '../../engine.ts';
import { type CdiDevice, type CdiProblem, readCdiDevices } from './cdi-files.ts';
import { type DeviceEdits, editsOf } from './device-edits.ts';
import { type GpuModel, nvidiaModels } from './gpu-models.ts';
import { NVIDIA_KIND } from './gpu-runtimes.ts';
import { typesOfModel, typesOfName } from './gpu-types.ts';

/** Annotation of a CDI device that names its type. */
export const TYPE_ANNOTATION = 'skerry/gpu-type';
const CLASS = '/gpu';
/** In the settings, for every device that is not named. */
const EVERY = '*';

export interface FoundGpus {
  readonly gpus: readonly Device[];
  readonly problems: readonly CdiProblem[];
}

/** Devices that an instance is to have. */
export interface TakenGpus {
  readonly edits: DeviceEdits;
  /** The runtime that is asked for, or for `auto` one that can hand them on. @throws SkerryError `unavailable` */
  runtimeFor(asked: RuntimeChoice): RuntimeName;
}

type RuntimesOf = (kind: string) => Promise<ReadonlySet<RuntimeName>>;

export class MachineGpus {
  readonly #config: Pick<Config, 'cdiDirs' | 'gpuTypes'>;
  readonly #runtimesOf: RuntimesOf;
  readonly #models: () => Promise<readonly GpuModel[]>;

  /**
   * @param runtimesOf which runtimes can hand on devices of a kind
   * @param models as the driver tells
   */
  constructor(
    config: Pick<Config, 'cdiDirs' | 'gpuTypes'>,
    runtimesOf: RuntimesOf,
    models: () => Promise<readonly GpuModel[]> = nvidiaModels,
  ) {
    this.#config = config;
    this.#runtimesOf = runtimesOf;
    this.#models = models;
  }

  /** Looks anew: a specification may be written, or a GPU go, while the server runs. */
  async find(): Promise<FoundGpus> {
    const { devices, problems } = await readCdiDevices(this.#config.cdiDirs);
    const usable: { device: CdiDevice; edits: DeviceEdits }[] = [];
    const unusable: CdiProblem[] = [];
    for (const device of devices.values()) {
      if (!device.kind.endsWith(CLASS)) continue;
      try {
        usable.push({ device, edits: await editsOf([device]) });
      } catch (error) {
        unusable.push({ of: device.name, reason: error instanceof Error ? error.message : String(error) });
      }
    }
    const single = singles(usable);
    const needModel = single.some(({ device }) => device.kind === NVIDIA_KIND && !this.#named(device));
    const models = needModel ? await this.#models() : [];
    const gpus = await Promise.all(
      single.map(async ({ device, edits }) => ({
        name: device.name,
        types: this.#named(device) ?? typesByDriver(device, edits, models),
        runtimes: await this.#runtimesOf(device.kind),
      })),
    );
    return { gpus, problems: [...problems, ...unusable] };
  }

  /** @throws SkerryError `unavailable` naming a device that is not there any more, or not usable */
  async take(names: readonly string[]): Promise<TakenGpus> {
    const { devices } = await readCdiDevices(this.#config.cdiDirs);
    const wanted = names.map((name) => {
      const device = devices.get(name);
      if (!device) throw new SkerryError('unavailable', `The device ${name} is not there any more.`);
      return device;
    });
    const edits = await editsOf(wanted);
    const able = await Promise.all(wanted.map(({ kind }) => this.#runtimesOf(kind)));
    return {
      edits,
      runtimeFor: (asked) => {
        const order: readonly RuntimeName[] = asked === 'auto' ? ['gvisor', 'runc'] : [asked];
        const runtime = order.find((name) => able.every((runtimes) => runtimes.has(name)));
        if (runtime) return runtime;
        throw new SkerryError(
          'unavailable',
          `${names.join(', ')} cannot be used under ${order.join(' or ')}.`,
        );
      },
    };
  }

  /** What the operator says: the settings before the specification. */
  #named({ name, annotations }: CdiDevice): readonly string[] | undefined {
    const settings = new Map(this.#config.gpuTypes.map((entry) => splitType(entry)));
    const type = settings.get(name) ?? settings.get(EVERY) ?? annotations[TYPE_ANNOTATION];
    return type === undefined ? undefined : typesOfName(type);
  }
}

/** `nvidia.com/gpu=0:A100` into name and type; names of MIG devices have a colon as well. */
function splitType(entry: string): [string, string] {
  const at = entry.lastIndexOf(':');
  return [entry.slice(0, at), entry.slice(at + 1)];
}

/**
 * One device of each piece of hardware. A file usually names each GPU twice, by number and by UUID, and all of them together once more; what it is made
 * of tells: the same nodes are the same GPU, and what has all of another's and more is several. Kubernetes' plugin of NVIDIA describes the same GPUs
 * as its own kind (`k8s.device-plugin.nvidia.com/gpu`) in a file beside that of NVIDIA's toolkit, whose names and types count then.
 */
function singles<T extends { device: CdiDevice; edits: DeviceEdits }>(found: readonly T[]): T[] {
  const nodes = ({ device, edits }: T): ReadonlySet<string> => {
    const shared = new Set(device.common.deviceNodes.map(({ path }) => path));
    return new Set(
      edits.devices.flatMap(({ path, major, minor }) => (shared.has(path) ? [] : [`${major}:${minor}`])),
    );
  };
  const withNodes = found
    .map((item) => ({ item, nodes: nodes(item) }))
    .sort((a, b) => Number(isNvidia(b.item)) - Number(isNvidia(a.item)));
  const isComposite = (own: ReadonlySet<string>, kind: string) =>
    withNodes.some(
      ({ item, nodes: other }) =>
        item.device.kind === kind && other.size > 0 && other.size < own.size && other.isSubsetOf(own),
    );
  const seen = new Set<string>();
  return withNodes.flatMap(({ item, nodes: own }) => {
    const { kind, name } = item.device;
    if (name === `${kind}=all` || isComposite(own, kind)) return [];
    const key = own.size === 0 ? name : [...own].sort().join(' ');
    if (seen.has(key)) return [];
    seen.add(key);
    return [item];
  });
}

const isNvidia = ({ device }: { device: CdiDevice }): boolean => device.kind === NVIDIA_KIND;

function typesByDriver(
  { kind, name }: CdiDevice,
  { devices }: DeviceEdits,
  models: readonly GpuModel[],
): readonly string[] {
  // A part of a GPU (MIG) is not what its model promises.
  if (kind !== NVIDIA_KIND || devices.some(({ path }) => path.startsWith('/dev/nvidia-caps/'))) return [];
  const minor = devices.map(({ path }) => /^\/dev\/nvidia(\d+)$/.exec(path)?.[1]).find(Boolean);
  const uuid = name.slice(kind.length + 1);
  const model = models.find(
    (each) => each.uuid === uuid || (minor !== undefined && each.minor === Number(minor)),
  );
  return model ? typesOfModel(model.name) : [];
}
