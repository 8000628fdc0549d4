/** The OCI bundle's config.json (https://github.com/opencontainers/runtime-spec, 1.0.2) for runc and for gVisor. */

import type { SlotUsers } from '../../network/network.ts';
import type { InstanceLimits, RuntimeName } from '../engine.ts';
import { GUEST_AGENT, GUEST_BIN_DIR, GUEST_CA_BUNDLE, GUEST_MOUNTS_DIR, GUEST_RUN_DIR } from '../paths.ts';
import { capabilities } from './capabilities.ts';
import type { DeviceEdits } from './gpus/device-edits.ts';
import { deviceRules, maskedPaths, readonlyPaths, sysctls } from './isolation.ts';
import type { PlacedMount } from './mounts.ts';
import type { OwnLimits } from './own-limits.ts';
import { gvisorSeccompProfile, seccompProfile } from './seccomp.ts';
import { userNamespaceOf } from './user-ids.ts';

export interface BundleOptions {
  readonly runtime: RuntimeName;
  readonly hostname: string;
  readonly rootfs: string;
  readonly cgroup: string;
  readonly networkNamespace: string;
  /** Its user namespace; undefined: its users are those of the machine. */
  readonly users?: SlotUsers | undefined;
  /** Id of the container whose gVisor kernel it runs in: two of them cannot share a network namespace. */
  readonly kernelOf?: string;
  /** What it has at `/dev`, where its users are its own and so no runtime can make it. */
  readonly devDir?: string;
  readonly limits: InstanceLimits;
  readonly binDir: string;
  readonly socketDir: string;
  /** What may be mounted into gVisor while it runs appears in there. */
  readonly mountPointsDir: string;
  /** Directory with the generated `hosts`, `hostname` and `resolv.conf`. */
  readonly etcDir: string;
  /** The host's file with extra CA certificates; absent when none are configured. */
  readonly caBundle?: string;
  readonly mounts: readonly PlacedMount[];
  /** What its devices change. */
  readonly devices?: DeviceEdits;
  readonly ownLimits: OwnLimits;
  /** `limitsSwap` is false on kernels that keep no account of swap. */
  readonly cgroups: { readonly version: 1 | 2; readonly limitsSwap: boolean };
}

/**
 * gVisor keeps a file of the machine open after its program closed it, and one for all who open it; so its program would never hear that it was closed
 * (pkg/sentry/fsimpl/gofer/gofer.go, `regularFilesUseSpecialFileFD`).
 */
const GVISOR_DIRECT = 'disable_file_handle_sharing';

interface OciMount {
  readonly destination: string;
  readonly type: string;
  readonly source: string;
  readonly options: readonly string[];
}

/** The kernel has 3,072 for all sandboxes together (`kernel.pty.max` without its reserve). */
const MAX_TERMINALS = 128;
/** CPU bandwidth is given out in periods of this many microseconds, the kernel's default. */
const CPU_PERIOD_US = 100_000;
/** The kernel's own bounds of cpu.shares. */
const sharesOf = (milliCpu: number): number =>
  Math.min(262_144, Math.max(2, Math.round((milliCpu * 1024) / 1000)));

const bind = (source: string, destination: string, readOnly: boolean, ...more: string[]): OciMount => ({
  destination,
  type: 'bind',
  source,
  options: ['rbind', readOnly ? 'ro' : 'rw', 'nosuid', 'nodev', ...more],
});

const cgroupMount: OciMount = {
  destination: '/sys/fs/cgroup',
  type: 'cgroup',
  source: 'cgroup',
  options: ['nosuid', 'noexec', 'nodev', 'relatime', 'ro'],
};

const devMount = ({ devDir }: BundleOptions): OciMount =>
  devDir === undefined
    ? {
        destination: '/dev',
        type: 'tmpfs',
        source: 'tmpfs',
        options: ['nosuid', 'strictatime', 'mode=755', 'size=65536k'],
      }
    : { destination: '/dev', type: 'bind', source: devDir, options: ['bind', 'rw', 'nosuid', 'rprivate'] };

function mountsOf(options: BundleOptions): OciMount[] {
  const { etcDir, binDir, socketDir, caBundle, limits } = options;
  // Of all terminals of the machine; gVisor has its own, and knows no bound.
  const terminals = options.runtime === 'gvisor' ? [] : [`max=${MAX_TERMINALS}`];
  const system: OciMount[] = [
    { destination: '/proc', type: 'proc', source: 'proc', options: ['nosuid', 'noexec', 'nodev'] },
    devMount(options),
    {
      destination: '/dev/pts',
      type: 'devpts',
      source: 'devpts',
      options: ['nosuid', 'noexec', 'newinstance', 'ptmxmode=0666', 'mode=0620', 'gid=5', ...terminals],
    },
    {
      destination: '/dev/shm',
      type: 'tmpfs',
      source: 'shm',
      // Pages count against the sandbox's memory limit; half of memory is what a Linux host gives, and without a size the host's.
      options: ['nosuid', 'noexec', 'nodev', 'mode=1777', `size=${limits.memoryMiB * 512}k`],
    },
    { destination: '/dev/mqueue', type: 'mqueue', source: 'mqueue', options: ['nosuid', 'noexec', 'nodev'] },
    { destination: '/sys', type: 'sysfs', source: 'sysfs', options: ['nosuid', 'noexec', 'nodev', 'ro'] },
    // Language runtimes size themselves by what they find there. gVisor's own would say that nothing is limited.
    ...(options.runtime === 'gvisor' ? [] : [cgroupMount]),
  ];
  const ours = [
    bind(`${etcDir}/hosts`, '/etc/hosts', false),
    bind(`${etcDir}/hostname`, '/etc/hostname', false),
    bind(`${etcDir}/resolv.conf`, '/etc/resolv.conf', false),
    bind(binDir, GUEST_BIN_DIR, true),
    // systemd mounts /run so, and runc in a user namespace may not show it with more rights.
    bind(socketDir, GUEST_RUN_DIR, true, 'noexec'),
    ...(options.runtime === 'gvisor' ? [bind(options.mountPointsDir, GUEST_MOUNTS_DIR, false)] : []),
    ...(caBundle === undefined ? [] : [bind(caBundle, GUEST_CA_BUNDLE, true)]),
  ];
  // The caller's own mounts come before ours, so that none of them can cover the agent; what devices bring comes over the caller's.
  const extra = options.mounts.map(({ source, target, readOnly, direct }) =>
    bind(source, target, readOnly, ...(direct && options.runtime === 'gvisor' ? [GVISOR_DIRECT] : [])),
  );
  return [...system, ...extra, ...(options.devices?.mounts ?? []), ...ours];
}

/** `linux.resources` as far as it comes from the limits. */
export function limitsOf(limits: InstanceLimits, cgroups: BundleOptions['cgroups']): object {
  const memory = limits.memoryMiB * 2 ** 20;
  return {
    memory: { limit: memory, ...(cgroups.limitsSwap ? { swap: memory } : {}) },
    cpu: {
      shares: sharesOf(limits.milliCpuRequest),
      quota: Math.max(1000, Math.round((limits.milliCpu * CPU_PERIOD_US) / 1000)),
      period: CPU_PERIOD_US,
    },
    pids: { limit: limits.pids },
  };
}

/** How runsc is told to start a container in the kernel of another one, its `specutils/cri.go`. */
const sharedKernel = (container: string): object => ({
  'io.kubernetes.cri.container-type': 'container',
  'io.kubernetes.cri.sandbox-id': container,
});

const noDevices: DeviceEdits = {
  env: {},
  devices: [],
  rules: [],
  mounts: [],
  hooks: { createRuntime: [], createContainer: [] },
  additionalGids: [],
};

/**
 * The text of config.json. Without lists that are empty: gVisor keeps none of them in a checkpoint, and takes no list for another thing than an empty one when it compares the bundle
 * of a restore with it.
 */
export const bundleText = (bundle: object): string =>
  JSON.stringify(bundle, (_, value: unknown) =>
    Array.isArray(value) && value.length === 0 ? undefined : value,
  );

/** The whole of config.json as an object. */
export function createBundle(options: BundleOptions) {
  const gvisor = options.runtime === 'gvisor';
  const { maxOpenFiles, lowersOomScore, limitsOthers } = options.ownLimits;
  const devices = options.devices ?? noDevices;
  const own = options.users && userNamespaceOf(options.users);
  return {
    ociVersion: '1.0.2',
    hostname: options.hostname,
    root: { path: options.rootfs, readonly: false },
    ...(options.kernelOf === undefined ? {} : { annotations: sharedKernel(options.kernelOf) }),
    process: {
      terminal: false,
      user: { uid: 0, gid: 0, additionalGids: devices.additionalGids },
      args: [GUEST_AGENT],
      env: [
        'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
        ...Object.entries(devices.env).map(([name, value]) => `${name}=${value}`),
      ],
      cwd: '/',
      capabilities: { bounding: capabilities, effective: capabilities, permitted: capabilities },
      rlimits:
        own && !limitsOthers
          ? []
          : [
              { type: 'RLIMIT_NOFILE', hard: maxOpenFiles, soft: Math.min(65_536, maxOpenFiles) },
              { type: 'RLIMIT_CORE', hard: 0, soft: 0 },
            ],
      // sudo, su and ping are set-user-id or carry file capabilities, which the flag would take from them. What they can gain is bounded by the
      // capability set above, and by gVisor's kernel there.
      noNewPrivileges: false,
      // Out of memory, a program dies before the agent; the agent sets what it starts back to 0.
      ...(lowersOomScore ? { oomScoreAdj: -900 } : {}),
    },
    mounts: mountsOf(options),
    ...(Object.values(devices.hooks).every((hooks) => hooks.length === 0) ? {} : { hooks: devices.hooks }),
    linux: {
      cgroupsPath: options.cgroup,
      ...(own ? { uidMappings: own.uidMappings, gidMappings: own.gidMappings } : {}),
      namespaces: [
        ...(own ? [own.namespace] : []),
        { type: 'pid' },
        { type: 'ipc' },
        { type: 'uts' },
        { type: 'mount' },
        { type: 'cgroup' },
        { type: 'network', path: options.networkNamespace },
      ],
      devices: devices.devices,
      resources: {
        devices: [...deviceRules, ...devices.rules],
        ...limitsOf(options.limits, options.cgroups),
      },
      // gVisor is a kernel of its own: the others would only cost time there.
      ...(gvisor
        ? { seccomp: gvisorSeccompProfile(process.arch) }
        : { seccomp: seccompProfile(process.arch), sysctl: sysctls, maskedPaths, readonlyPaths }),
    },
  };
}

export type Bundle = ReturnType<typeof createBundle>;

/** What of the machine is in the container of a bundle. */
export const pathsOf = ({ root, mounts, linux }: Bundle): readonly string[] => [
  root.path,
  ...mounts.filter(({ type }) => type === 'bind').map(({ source }) => source),
  ...linux.namespaces.flatMap((namespace) => ('path' in namespace ? namespace.path : [])),
];
