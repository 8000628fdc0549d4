/**
 * Instances whose users are nobody else's on the machine: under runc each is in a user namespace, which its network namespace belongs to
 * ([decision 0020](../../../../docs/decisions/0020-users-of-their-own.md)). On disk everything is owned by the ids that programs inside see; whatever is shown to
 * them is mounted with its ids mapped.
 */
import { mkdir, stat, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { SlotUsers } from '../../network/network.ts';
import { run } from '../../platform/command.ts';
import { IDS_EACH } from '../../platform/id-ranges.ts';
import { OVERLAY_OPTIONS } from '../../platform/overlayfs.ts';
import type { InstanceLayout } from './layout.ts';
import type { PlacedMount } from './mounts.ts';
import { settleAll } from './settle-all.ts';

/** What a sandbox syncs need not survive a crash of the machine. */
const OPTIONS = [...OVERLAY_OPTIONS, 'volatile'].join(',');

/** What of `linux` in the bundle makes it so. */
export const userNamespaceOf = ({ path, firstId }: SlotUsers) => {
  const mappings = [{ containerID: 0, hostID: firstId, size: IDS_EACH }];
  return { namespace: { type: 'user', path }, uidMappings: mappings, gidMappings: mappings };
};

/** The program of `trees/`, as far as it is about ids. */
export class MappedTrees {
  readonly #program: string;

  constructor(program: string) {
    this.#program = program;
  }

  /** Shows a directory or file at `target`, which must be there and be one too. */
  async show(users: Pick<SlotUsers, 'path'>, source: string, target: string): Promise<void> {
    await run([this.#program, 'show-mapped', users.path, source, target]);
  }

  /** Makes what an instance has at `/dev` in a file system of its own, at a new directory. */
  async makeDevices({ firstId }: Pick<SlotUsers, 'firstId'>, directory: string): Promise<void> {
    await mkdir(directory, { mode: 0o700 });
    await run([this.#program, 'make-devices', String(firstId), directory]);
  }

  /** An overlay of directories, the lowest first, under `upper` and `work` of another one, which is to be seen at `shown` as well. */
  async overlay(
    users: Pick<SlotUsers, 'path'>,
    parts: {
      readonly layers: readonly string[];
      readonly writable: string;
      readonly shown?: string;
      readonly target: string;
    },
  ): Promise<void> {
    const { layers, writable, shown, target } = parts;
    const command =
      shown === undefined
        ? ['mount-mapped', users.path, writable]
        : ['mount-root', users.path, writable, shown];
    await run([this.#program, ...command, target, OPTIONS, ...layers]);
  }

  /** The caller's mounts with mapped ids. Volumes have them already. */
  async mounts(
    users: SlotUsers,
    places: InstanceLayout,
    mounts: readonly PlacedMount[],
  ): Promise<readonly PlacedMount[]> {
    return settleAll(
      mounts.map(async (mount, number) => {
        if (!mount.scratch) return mount;
        const target = places.mappedMount(number);
        await mkdir(dirname(target), { recursive: true, mode: 0o755 });
        if ((await stat(mount.source)).isDirectory()) await mkdir(target, { mode: 0o755 });
        else await writeFile(target, '');
        await this.show(users, mount.source, target);
        return { ...mount, source: target };
      }),
    );
  }
}
