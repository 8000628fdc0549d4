/** Ways to weaken a sandbox in one mechanism: edits of the OCI bundle that Skerry made for it. Only the tests' own containers are started from these. */
import { readOwnLimits } from '../../../server/src/engines/oci/own-limits.ts';

/** The parts of config.json that are edited, as `server/src/engines/oci/bundle.ts` writes them. */
export interface Bundle {
  process: {
    args: string[];
    env: string[];
    cwd: string;
    capabilities: Record<'bounding' | 'effective' | 'permitted', string[]>;
    rlimits: { type: string; hard: number; soft: number }[];
    [other: string]: unknown;
  };
  mounts: {
    destination: string;
    type: string;
    source: string;
    options: string[];
    uidMappings?: object[];
    gidMappings?: object[];
  }[];
  linux: {
    cgroupsPath: string;
    uidMappings?: object[];
    gidMappings?: object[];
    namespaces: { type: string; path?: string }[];
    resources: {
      devices: object[];
      memory: { limit: number; swap?: number };
      pids: { limit: number };
      [other: string]: unknown;
    };
    seccomp?: {
      architectures: string[];
      syscalls: { names: string[]; action: string; args?: object[] }[];
      [other: string]: unknown;
    };
    maskedPaths?: string[];
    readonlyPaths?: string[];
    [other: string]: unknown;
  };
  [other: string]: unknown;
}

/** What is the test's own: directories that stand for Skerry's. */
export interface CanaryPlaces {
  /** What a sandbox was given that was made before. */
  readonly former: string;
  readonly binDir: string;
  readonly socketDir: string;
}

type CanaryDirectory = Exclude<keyof CanaryPlaces, 'former'>;

export interface Weakening {
  /** Two with the same are the same. */
  readonly name: string;
  readonly edit: (bundle: Bundle, canary: CanaryPlaces) => void;
  /** Options of the runtime's command. */
  readonly options?: readonly string[];
  /** A directory of the test's own that is left open for the program, as descriptor 3. */
  readonly leavesOpen?: CanaryDirectory;
  /** Whether it can be done here; where a server runs as a root with less, it cannot hand more on. */
  readonly possible?: () => Promise<boolean>;
}

/** The system calls are allowed, whatever their arguments. */
export const allowing = (...calls: string[]): Weakening => ({
  name: `allowing ${calls.join(' ')}`,
  edit: ({ linux: { seccomp } }) => {
    if (!seccomp) return;
    for (const rule of seccomp.syscalls) rule.names = rule.names.filter((name) => !calls.includes(name));
    seccomp.syscalls = seccomp.syscalls.filter(({ names }) => names.length > 0);
    seccomp.syscalls.push({ names: calls, action: 'SCMP_ACT_ALLOW' });
  },
});

/** Programs may also enter the kernel as those of another architecture do. */
export const allowingArchitecture = (name: string): Weakening => ({
  name: `allowing ${name}`,
  edit: ({ linux: { seccomp } }) => {
    seccomp?.architectures.push(name);
  },
});

export const capable = (...capabilities: string[]): Weakening => ({
  name: `with ${capabilities.join(' ')}`,
  edit: ({ process }) => {
    for (const set of Object.values(process.capabilities)) set.push(...capabilities);
  },
  possible: async () => !capabilities.includes('CAP_SYS_RESOURCE') || (await readOwnLimits()).lowersOomScore,
});

export const unmasked = (path: string): Weakening => ({
  name: `with ${path}`,
  edit: ({ linux }) => {
    linux.maskedPaths = linux.maskedPaths?.filter((each) => each !== path) ?? [];
  },
});

export const writable = (path: string): Weakening => ({
  name: `with ${path} writable`,
  edit: ({ linux, mounts }) => {
    linux.readonlyPaths = linux.readonlyPaths?.filter((each) => each !== path) ?? [];
    for (const each of mounts) {
      if (each.destination === path)
        each.options = each.options.map((option) => (option === 'ro' ? 'rw' : option));
    }
  },
});

export const without = (namespace: string): Weakening => ({
  name: `without a ${namespace} namespace`,
  edit: ({ linux }) => {
    linux.namespaces = linux.namespaces.filter(({ type }) => type !== namespace);
    if (namespace === 'network') linux.sysctl = {}; // they would be the machine's
  },
});

/** One of the canary's directories is there, writable, in place of Skerry's own. */
export const replaced = (destination: string, by: CanaryDirectory): Weakening => ({
  name: `with ${destination} writable`,
  edit: ({ mounts }, canary) => {
    for (const each of mounts) {
      if (each.destination !== destination) continue;
      each.source = canary[by];
      each.options = ['rbind', 'rw'];
    }
  },
});

/** The device may be used, whatever node there is for it. */
export const allowingDevice = (major: number, minor: number): Weakening => ({
  name: `allowing device ${major}:${minor}`,
  edit: ({ linux }) => {
    linux.resources.devices.push({ allow: true, type: 'c', major, minor, access: 'rwm' });
  },
});

/** The runtime is started with this option besides. */
export const started = (option: string): Weakening => ({
  name: `started with ${option}`,
  edit: () => {},
  options: [option],
});

/** The limit is another one, still small. */
export const limitedTo = ({ memoryMiB, pids }: { memoryMiB?: number; pids?: number }): Weakening => ({
  name: `limited to ${memoryMiB === undefined ? `${pids} processes` : `${memoryMiB} MiB of memory`}`,
  edit: ({ linux: { resources } }) => {
    if (pids !== undefined) resources.pids.limit = pids;
    if (memoryMiB === undefined) return;
    resources.memory.limit = memoryMiB * 2 ** 20;
    if (resources.memory.swap !== undefined) resources.memory.swap = memoryMiB * 2 ** 20;
  },
});

/** A file system in memory is there, of this size. */
export const roomAt = (path: string, sizeMiB: number): Weakening => ({
  name: `with ${sizeMiB} MiB at ${path}`,
  edit: ({ mounts }) => {
    const size = `size=${sizeMiB}m`;
    const known = mounts.find(({ destination }) => destination === path);
    if (known) known.options = [...known.options.filter((option) => !option.startsWith('size=')), size];
    else mounts.push({ destination: path, type: 'tmpfs', source: 'tmpfs', options: [size] });
  },
});

/** As many terminals as there are on the machine. */
export const unboundedTerminals: Weakening = {
  name: 'without a bound of terminals',
  edit: ({ mounts }) => {
    for (const each of mounts) {
      if (each.type === 'devpts') each.options = each.options.filter((option) => !option.startsWith('max='));
    }
  },
};

/** A descriptor of the machine's is left open. */
export const leavingOpen = (directory: CanaryDirectory): Weakening => ({
  name: 'with a directory left open',
  edit: () => {},
  leavesOpen: directory,
});

/** What somebody else was given is in the environment of what waits. */
export const rememberingFormer: Weakening = {
  name: 'with what somebody else was given',
  edit: ({ process }, { former }) => {
    process.env.push(`FORMER=${former}`);
  },
};
