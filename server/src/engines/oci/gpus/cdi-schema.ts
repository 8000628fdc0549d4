/**
 * What a file of the Container Device Interface may say (https://github.com/cncf-tags/container-device-interface, SPEC.md 0.3 to 1.1), with bounds. What
 * is not known here is refused: a device whose description is only half understood would be half there. `intelRdt`, `netDevices` and hooks at other
 * times than those of `hookTimes` are known and not supported.
 */
import { normalize } from 'node:path';
import { z } from 'zod';
import { checkMountTarget } from '../../mount-target.ts';

const MAX_ITEMS = 1024;
const MAX_TEXT = 4096;
/** Every sandbox has these of its own. */
const ownDevices =
  /^\/dev\/(null|zero|full|random|urandom|tty|console|ptmx|fd|core|stdin|stdout|stderr|(pts|shm|mqueue)(\/.*)?)$/;

const isClean = (path: string): boolean =>
  path.startsWith('/') && path !== '/' && normalize(path) === path && !path.endsWith('/');

const text = z
  .string()
  .max(MAX_TEXT)
  .regex(/^[^\0]*$/, 'contains a zero byte');
const hostPath = text.refine(isClean, 'not an absolute path without "..", "//" and a slash at the end');
const devicePath = hostPath.refine(
  (path) => path.startsWith('/dev/') && !ownDevices.test(path),
  'not below /dev, or a device that every sandbox has',
);
const mountPath = hostPath.refine((path) => {
  try {
    checkMountTarget(path);
    return true;
  } catch {
    return false;
  }
}, 'a place where nothing can be mounted');
const variable = text.regex(/^[A-Za-z_][A-Za-z0-9_.]*=/, 'not NAME=VALUE');
/** The kernel's numbers of devices have 12 and 20 bits, and 32 for owners and groups. */
const id = z.int().min(0).max(0xffff_fffe);
const list = <T extends z.ZodType>(item: T) => z.array(item).max(MAX_ITEMS).default([]);
const annotations = z.record(z.string().max(256), text).default({});

/** Those that share mounts with the machine, or let set-user-id programs and device files count, are not among them. */
const mountOptions = [
  'ro',
  'rw',
  'bind',
  'rbind',
  'private',
  'rprivate',
  'slave',
  'rslave',
  'nosuid',
  'nodev',
  'noexec',
  'exec',
  'noatime',
  'relatime',
] as const;

const deviceNodeSchema = z.strictObject({
  path: devicePath,
  hostPath: hostPath.optional(),
  /** Block devices are disks: whoever has one has everything on it. */
  type: z.enum(['', 'c', 'u']).default(''),
  major: z.int().min(0).max(0xfff).optional(),
  minor: z.int().min(0).max(0xf_ffff).optional(),
  fileMode: z.int().min(0).max(0o7777).optional(),
  permissions: z
    .string()
    .regex(/^[rwm]{0,3}$/)
    .default(''),
  uid: id.optional(),
  gid: id.optional(),
});

const mountSchema = z.strictObject({
  hostPath,
  containerPath: mountPath,
  type: z.enum(['', 'bind', 'none']).default(''),
  options: list(z.enum(mountOptions)),
});

/** At these the program runs on the machine while the container is made, before anything of its image does, under each runtime. At the others it is one of the image, or runs later. */
const hookTimes = ['createRuntime', 'createContainer'] as const;

const hookSchema = z.strictObject({
  hookName: z.enum(hookTimes, `only ${hookTimes.join(' and ')} hooks are run`),
  path: hostPath,
  args: list(text),
  env: list(variable),
  timeout: z.int().min(1).max(120).optional(),
});

const editsSchema = z.strictObject({
  env: list(variable),
  deviceNodes: list(deviceNodeSchema),
  mounts: list(mountSchema),
  hooks: list(hookSchema),
  additionalGids: list(id),
});

/** A name, https://github.com/cncf-tags/container-device-interface/blob/main/SPEC.md#cdi-devices; NVIDIA's of MIG devices have a colon. */
const NAME = /^[A-Za-z0-9]([A-Za-z0-9._:-]{0,126}[A-Za-z0-9])?$/;
const KIND =
  /^(?=.{1,253}\/)[a-zA-Z0-9]([a-zA-Z0-9.-]*[a-zA-Z0-9])?\/[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$/;

export const cdiFileSchema = z.strictObject({
  cdiVersion: z.string().regex(/^v?(0\.[3-9]|1\.[01])\.\d{1,4}$/, 'a version that is not known'),
  kind: z.string().max(320).regex(KIND),
  annotations,
  containerEdits: editsSchema.prefault({}),
  devices: z
    .array(
      z.strictObject({ name: z.string().regex(NAME), annotations, containerEdits: editsSchema.prefault({}) }),
    )
    .min(1)
    .max(MAX_ITEMS),
});

export type CdiFile = z.infer<typeof cdiFileSchema>;
export type CdiEdits = z.infer<typeof editsSchema>;
export type CdiDeviceNode = z.infer<typeof deviceNodeSchema>;
