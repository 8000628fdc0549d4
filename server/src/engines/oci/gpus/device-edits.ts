/** What CDI devices change about a container, made of this machine's device numbers, files and programs. */
import { mkdir, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { SkerryError } from '../../../errors/skerry-error.ts';
import { deviceNumbers } from '../../../platform/device-numbers.ts';
import type { CdiDevice } from './cdi-files.ts';
import type { CdiDeviceNode, CdiEdits } from './cdi-schema.ts';

/** A hook that hangs would keep a sandbox from starting, or failing, for good. */
const HOOK_TIMEOUT_S = 30;
const OTHERS_WRITE = 0o022;

/** In the words of the OCI runtime specification. */
export interface DeviceEdits {
  readonly env: Readonly<Record<string, string>>;
  readonly devices: readonly OciDevice[];
  /** For `linux.resources.devices`. */
  readonly rules: readonly object[];
  readonly mounts: readonly {
    readonly destination: string;
    readonly type: 'bind';
    readonly source: string;
    readonly options: readonly string[];
  }[];
  /** When each runs, and how. */
  readonly hooks: Readonly<Record<HookTime, readonly object[]>>;
  readonly additionalGids: readonly number[];
}

type HookTime = CdiEdits['hooks'][number]['hookName'];

export interface OciDevice {
  readonly path: string;
  readonly type: 'c';
  readonly major: number;
  readonly minor: number;
  readonly fileMode?: number;
  readonly uid?: number;
  readonly gid?: number;
}

/**
 * Of several devices, in their order; what their files have in common is there once.
 * @throws SkerryError `unavailable` naming the device whose node, file or program is not there, or not as it must be
 */
export async function editsOf(devices: readonly CdiDevice[]): Promise<DeviceEdits> {
  const parts = new Map<CdiEdits, string>();
  for (const { common, name } of devices) if (!parts.has(common)) parts.set(common, name);
  for (const { own, name } of devices) parts.set(own, name);
  const nodes = new Map<string, { device: OciDevice; rule: object }>();
  const mounts = new Map<string, DeviceEdits['mounts'][number]>();
  const env: Record<string, string> = {};
  const hooks: Record<HookTime, object[]> = { createRuntime: [], createContainer: [] };
  const gids = new Set<number>();
  for (const [edits, name] of parts) {
    try {
      for (const text of edits.env) {
        const at = text.indexOf('=');
        env[text.slice(0, at)] = text.slice(at + 1);
      }
      for (const node of edits.deviceNodes) nodes.set(node.path, await nodeOf(node));
      for (const mount of edits.mounts) mounts.set(mount.containerPath, await mountOf(mount));
      for (const hook of edits.hooks) hooks[hook.hookName].push(await hookOf(hook));
      for (const gid of edits.additionalGids) if (gid !== 0) gids.add(gid);
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      throw new SkerryError('unavailable', `The device ${name} cannot be used: ${reason}.`, { cause: error });
    }
  }
  return {
    env,
    devices: [...nodes.values()].map(({ device }) => device),
    rules: [...nodes.values()].map(({ rule }) => rule),
    mounts: [...mounts.values()],
    hooks,
    additionalGids: [...gids],
  };
}

/**
 * Makes what the mounts go onto, in a directory of its own for the lowest layer: a runtime would make it in the writable one, from where every snapshot would
 * have empty files in the place of libraries. @returns the directory
 */
export async function makeMountPoints(directory: string, { mounts }: DeviceEdits): Promise<string> {
  await mkdir(directory, { mode: 0o755 });
  for (const { source, destination } of mounts) {
    const point = join(directory, destination);
    const isDirectory = (await stat(source)).isDirectory();
    await mkdir(isDirectory ? point : dirname(point), { recursive: true, mode: 0o755 });
    if (!isDirectory) await writeFile(point, '', { flag: 'a', mode: 0o644 });
  }
  return directory;
}

async function nodeOf(node: CdiDeviceNode): Promise<{ device: OciDevice; rule: object }> {
  const { path, hostPath = path, permissions, fileMode, uid, gid } = node;
  let { major, minor } = node;
  if (major === undefined || minor === undefined) {
    const found = await stat(hostPath);
    if (!found.isCharacterDevice()) throw new Error(`${hostPath} is no character device`);
    ({ major, minor } = deviceNumbers(found.rdev));
  }
  const numbers = { type: 'c', major, minor } as const;
  const owner = { ...(uid === undefined ? {} : { uid }), ...(gid === undefined ? {} : { gid }) };
  return {
    device: { path, ...numbers, ...(fileMode === undefined ? {} : { fileMode: fileMode & 0o777 }), ...owner },
    rule: { allow: true, ...numbers, access: permissions || 'rwm' },
  };
}

/** Read-only unless the file says otherwise in so many words. */
async function mountOf({ hostPath, containerPath, options }: CdiEdits['mounts'][number]) {
  await stat(hostPath);
  const writable = options.includes('rw') && !options.includes('ro');
  return {
    destination: containerPath,
    type: 'bind',
    source: hostPath,
    options: [
      options.includes('bind') ? 'bind' : 'rbind',
      writable ? 'rw' : 'ro',
      ...['nosuid', 'nodev', 'rprivate'],
      ...(options.includes('noexec') ? ['noexec'] : []),
    ],
  } as const;
}

/** Runs as root on the machine: a program that others may change would be theirs to run as root. */
async function hookOf({ path, args, env, timeout = HOOK_TIMEOUT_S }: CdiEdits['hooks'][number]) {
  const found = await stat(path);
  if (!found.isFile() || (found.mode & 0o111) === 0) throw new Error(`the hook ${path} is no program`);
  if (found.uid !== 0 || (found.mode & OTHERS_WRITE) !== 0)
    throw new Error(`the hook ${path} must belong to root, and nobody else may write to it`);
  return { path, ...(args.length === 0 ? {} : { args }), env, timeout };
}
