/**
 * What is kept of a sandbox while it is suspended: its memory as a checkpoint of the engine's, its files as layers of an image, and what it was given. It wakes in another
 * instance that is made of them.
 */
import { mkdir } from 'node:fs/promises';
import type { CheckpointOptions, DiskSize, InstanceLimits, NetworkPolicy } from '../engines/engine.ts';
import { SkerryError } from '../errors/skerry-error.ts';
import { type ImageId, type MemorySnapshotId, newMemorySnapshotId, type TaskId } from '../ids.ts';
import type { Image, Images, NewLayer } from '../images/image.ts';
import { run } from '../platform/command.ts';
import type { Logger } from '../telemetry/logger.ts';
import type { MemorySnapshotRow, MemorySnapshots } from './memory-snapshots.ts';
import type { Tenant } from './tenant.ts';

/** Written to the store with the sandbox's row. */
export interface Sleep {
  /** Its memory; gone once it woke. */
  readonly checkpoint: MemorySnapshotId;
  /** With its files: what it wrote up to then is in the layers that its sleeps added. */
  readonly image: ImageId;
  /** Bytes of these layers. */
  readonly keptBytes: number;
  /** Of all that it may write, these layers included; absent where that is not bounded. */
  readonly diskMiB?: number;
  /** As they were, whatever the server's defaults will be. */
  readonly limits: InstanceLimits;
  readonly network: NetworkPolicy;
  /** It did not sleep, but went back to a snapshot of it: its programs are those of then. */
  readonly isRollback?: boolean;
}

/** The sandbox that sleeps. */
interface Sleeper {
  readonly taskId: TaskId;
  readonly deadlineMs: number;
}

export interface SleepsParts {
  readonly images: Pick<Images, 'addLayer' | 'holdImage' | 'delete' | 'getPlain' | 'layerDirectories'>;
  readonly memory: Pick<MemorySnapshots, 'removeFiles' | 'duplicate'>;
  readonly logger: Logger;
  readonly now: () => number;
}

/** An image that a killed server left without a sandbox expires so much later than the sandbox would have ended. */
const SLACK_MS = 3_600_000;
/** This part of a sandbox's disk is for what it writes after its last sleep, whatever was kept before. */
const LEFT_PART = 1 / 4;
const MIB = 2 ** 20;
const COUNT_TIMEOUT_MS = 10 * 60_000;

export class Sleeps {
  readonly #parts: SleepsParts;

  constructor(parts: SleepsParts) {
    this.#parts = parts;
  }

  /**
   * Has everything in the instance stand still for good, and keeps what it is. When it fails all go on.
   * @param before what is kept of an earlier sleep
   * @throws SkerryError `conflict` for a sandbox that cannot be suspended, `disk-full`, `sandbox-ended`
   */
  async take(
    of: Sleeper,
    tenant: Pick<Tenant, 'instance' | 'plan'>,
    before: Sleep | undefined,
    settle: CheckpointOptions['settle'],
  ): Promise<Sleep> {
    const { instance, plan } = tenant;
    const keptBefore = before?.keptBytes ?? 0;
    requireRoom(keptBefore, diskMiBOf(tenant, before));
    const checkpoint = newMemorySnapshotId();
    let addedBytes = 0;
    try {
      const image = await this.#imageFor(of, plan.image, async ({ ref, directory }) => {
        await instance.checkpoint(checkpoint, ref, { ...(settle && { settle }), stays: true });
        addedBytes = await bytesOf(directory);
      });
      return { checkpoint, image, keptBytes: keptBefore + addedBytes, ...givenTo(tenant, before) };
    } catch (error) {
      await instance.resume().catch(() => {}); // it has ended, or resumes as soon as it can
      this.#parts.memory.removeFiles(checkpoint);
      throw error;
    }
  }

  /**
   * What a sandbox goes on from that goes back to a snapshot of it, which stays.
   * @throws SkerryError `not-found`, `disk-full`
   */
  async backTo(
    { id, spec }: MemorySnapshotRow,
    of: Sleeper,
    tenant: Pick<Tenant, 'instance' | 'plan'>,
    before: Sleep | undefined,
  ): Promise<Sleep> {
    const { images, memory } = this.#parts;
    const taken = images.getPlain(spec.imageId);
    const written = images.layerDirectories(taken).at(-1);
    const keptBytes = written === undefined ? 0 : await bytesOf(written);
    const checkpoint = await memory.duplicate(id);
    try {
      // One of its own: the snapshot's may be deleted, and this one goes with the sandbox.
      const image = await this.#imageFor(of, taken, ({ directory }) => mkdir(directory));
      return { checkpoint, image, keptBytes, isRollback: true, ...givenTo(tenant, before) };
    } catch (error) {
      memory.removeFiles(checkpoint);
      throw error;
    }
  }

  /** The sandbox woke: nobody wakes from that again. */
  forgetMemory({ checkpoint }: Pick<Sleep, 'checkpoint'>): void {
    this.#parts.memory.removeFiles(checkpoint);
  }

  /** The sandbox has ended, or has another sleep. Never rejects: an image that cannot be deleted now expires. */
  async forget({ checkpoint, image }: Sleep): Promise<void> {
    const { images, memory, logger } = this.#parts;
    memory.removeFiles(checkpoint);
    await images.delete(image).catch((err: unknown) => logger.warn({ image, err }, 'sleep.image-left'));
  }

  /** Makes the image that it goes on from, which is kept for as long as the sandbox is there. */
  async #imageFor(
    { taskId, deadlineMs }: Sleeper,
    parent: Image,
    takeLayer: (layer: NewLayer) => Promise<void>,
  ): Promise<ImageId> {
    const { images, now } = this.#parts;
    const { id } = await images.addLayer(parent, takeLayer, { ttlMs: deadlineMs - now() + SLACK_MS });
    images.holdImage(taskId, id);
    return id;
  }
}

/** Of all that it may write: what woke has less than that left. */
const diskMiBOf = ({ plan }: Pick<Tenant, 'plan'>, before: Sleep | undefined): number | undefined =>
  before?.diskMiB ?? plan.disk?.sizeMiB;

/** What a sandbox has been given up to now, and has again. */
function givenTo(
  tenant: Pick<Tenant, 'instance' | 'plan'>,
  before: Sleep | undefined,
): Pick<Sleep, 'diskMiB' | 'limits' | 'network'> {
  const diskMiB = diskMiBOf(tenant, before);
  const { instance, plan } = tenant;
  return {
    ...(diskMiB !== undefined && { diskMiB }),
    limits: plan.limits,
    network: instance.networkPolicy,
  };
}

/** A sandbox's disk once it woke: what its sleeps keep is a part of what it may write. */
export function diskAfter(disk: DiskSize | undefined, { keptBytes, diskMiB }: Sleep): DiskSize | undefined {
  if (!disk || diskMiB === undefined) return disk;
  const leftMiB = diskMiB - Math.floor(keptBytes / MIB);
  return { ...disk, sizeMiB: Math.max(leftMiB, Math.ceil(diskMiB * LEFT_PART)) };
}

/** @throws SkerryError `conflict` */
function requireRoom(keptBytes: number, diskMiB: number | undefined): void {
  if (diskMiB === undefined || keptBytes <= diskMiB * MIB * (1 - LEFT_PART)) return;
  throw new SkerryError(
    'conflict',
    'The sandbox cannot be suspended again: its files take most of its disk.',
  );
}

/** Bytes on the disk. */
async function bytesOf(directory: string): Promise<number> {
  const { stdout } = await run(['du', '-s', '-B1', '--', directory], { timeoutMs: COUNT_TIMEOUT_MS });
  return Number.parseInt(stdout, 10) || 0;
}
