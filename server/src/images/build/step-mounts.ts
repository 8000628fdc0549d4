/** What is mounted into a RUN step: files and directories of the host that go with the step's workspace. */
import { chmod, chown, lstat, mkdir, rmdir, unlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { InstanceMount } from '../../engines/engine.ts';
import type { MountRef } from '../../engines/references.ts';
import { SkerryError } from '../../errors/skerry-error.ts';
import type { MountOwner, RunMount } from '../dockerfile/instruction.ts';

/** A mount of RUN with its variables expanded, an absolute target, and for `bind` the place of its files on this host. */
export type StepMount =
  | Exclude<RunMount, { readonly type: 'bind' }>
  | {
      readonly type: 'bind';
      readonly target: string;
      readonly directory: string;
      readonly readOnly: boolean;
    };

export interface PreparedMounts {
  readonly mounts: readonly InstanceMount[];
  /** Variables that hold secrets. */
  readonly env: Readonly<Record<string, string>>;
}

/** @param secrets values of secret mounts by id @param workspace an empty directory of the caller @param refer how the engine is told of what is in one */
export async function prepareMounts(
  wanted: readonly StepMount[],
  secrets: Readonly<Record<string, string>>,
  workspace: string,
  refer: (path: string) => MountRef,
): Promise<PreparedMounts> {
  const mounts: InstanceMount[] = [];
  const env: Record<string, string> = {};
  for (const [index, mount] of wanted.entries()) {
    const source = join(workspace, `mount-${index}`);
    switch (mount.type) {
      case 'bind':
        mounts.push({ source: refer(mount.directory), target: mount.target, readOnly: mount.readOnly });
        break;
      case 'scratch':
        await mkdir(source);
        await give(source, mount);
        mounts.push({ source: refer(source), target: mount.target, readOnly: false });
        break;
      case 'secret': {
        const value = secretValue(mount.id, mount.required, secrets);
        if (value === undefined) break;
        if (mount.env !== undefined) env[mount.env] = value;
        if (mount.target === undefined) break;
        await writeFile(source, value, { mode: 0o400 });
        await give(source, mount);
        mounts.push({ source: refer(source), target: mount.target, readOnly: true });
        break;
      }
      default:
        mount satisfies never;
    }
  }
  return { mounts, env };
}

async function give(path: string, { mode, uid, gid }: MountOwner): Promise<void> {
  await chown(path, uid, gid);
  await chmod(path, mode);
}

function secretValue(id: string, required: boolean, secrets: Readonly<Record<string, string>>) {
  if (Object.hasOwn(secrets, id)) return secrets[id];
  if (!required) return undefined;
  throw new SkerryError('image-build-failed', `the secret \`${id}\` is required and was not given`);
}

/**
 * Takes away the empty files and directories that the runtime made in the step's own layer as mount points, which are no part of the image. What the layers
 * below have had at the path, and what lies behind a link, is left alone: the layer is the work of an untrusted program.
 */
export async function removeMountPoints(
  upper: string,
  layers: readonly string[],
  mounts: readonly Pick<InstanceMount, 'target'>[],
): Promise<void> {
  for (const { target } of mounts) {
    const parts = target.split('/').filter((part) => part !== '');
    for (let depth = parts.length; depth > 0; depth--) {
      const path = parts.slice(0, depth);
      const below = await Promise.all(layers.map((layer) => entryAt(layer, path)));
      if (below.some((entry) => entry !== 'nothing')) break;
      const entry = await entryAt(upper, path);
      if (entry === 'empty file' && depth === parts.length) await unlink(join(upper, ...path));
      else if (entry !== 'directory' || !(await removeEmpty(join(upper, ...path)))) break;
    }
  }
}

type Entry = 'nothing' | 'directory' | 'empty file' | 'other';

/** What a layer itself has at a path, without following any link. */
async function entryAt(root: string, parts: readonly string[]): Promise<Entry> {
  let path = root;
  let entry: Entry = 'directory';
  for (const part of parts) {
    if (entry !== 'directory') return 'other';
    path = join(path, part);
    const stats = await lstat(path).catch(() => undefined);
    if (!stats) return 'nothing';
    entry = stats.isDirectory() ? 'directory' : stats.isFile() && stats.size === 0 ? 'empty file' : 'other';
  }
  return entry;
}

async function removeEmpty(directory: string): Promise<boolean> {
  try {
    await rmdir(directory);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOTEMPTY') return false;
    throw error;
  }
}
