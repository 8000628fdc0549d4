/** What `needs.ts` reckons from: how sandboxes are used, what was measured here, and what others publish of Kubernetes. */
import { configSchema } from '../../server/src/config/config.ts';
import type { RuntimeName } from '../../server/src/engines/engine.ts';
import { parseCidr } from '../../server/src/network/cidr.ts';
import { AddressPlan } from '../../server/src/network/subnet.ts';
import { loadPage, readNumbers, readPage } from '../result-page.ts';

/** How sandboxes are used: assumed, and the same for every number of them. */
export const USE = {
  livesSeconds: 600,
  execsPerMinute: 6,
  /** What a sandbox's own programs have of the memory, beside what an idle one takes. */
  programsMiB: 256,
  /** Different ones that run at the same time. */
  images: 50,
  imageMiB: 300,
} as const;

/** A machine that sandboxes run on: assumed. */
export const MACHINE = { processors: 16, memoryMiB: 65_536 } as const;

interface Limit {
  readonly value: number;
  /** A page that says so. */
  readonly source: string;
}

const CLUSTER = 'https://kubernetes.io/docs/setup/best-practices/cluster-large/';
const COMPONENTS = 'https://kubernetes.io/docs/reference/command-line-tools-reference';
const KUBELET = 'https://kubernetes.io/docs/reference/config-api/kubelet-config.v1beta1/';
const ETCD = 'https://etcd.io/docs/v3.6/dev-guide/limit/';

export const PUBLISHED = {
  podsPerNode: { value: 110, source: CLUSTER },
  nodes: { value: 5_000, source: CLUSTER },
  pods: { value: 150_000, source: CLUSTER },
  containers: { value: 300_000, source: CLUSTER },
  /** Suggested as the most; 2 GiB unless it is set. */
  etcdMiB: { value: 8_192, source: ETCD },
  eventsLiveSeconds: { value: 3_600, source: `${COMPONENTS}/kube-apiserver/` },
  /** Calls a second, of which each Pod takes one, unless it is set (`--kube-api-qps`). */
  schedulerPerSecond: { value: 50, source: `${COMPONENTS}/kube-scheduler/` },
  /** The prefix of each node's addresses unless it is set (`--node-cidr-mask-size`). */
  nodePrefix: { value: 24, source: `${COMPONENTS}/kube-controller-manager/` },
  /** Of each node, unless it is set (`registryPullQPS`). */
  pullsPerSecond: { value: 5, source: KUBELET },
} as const satisfies Record<string, Limit>;

/** What one sandbox takes, as measured; sizes in KiB, times in ms. */
export interface PerSandbox {
  readonly serverKiB: number;
  readonly serverDescriptors: number;
  readonly processes: number;
  readonly processKiB: number;
  readonly descriptors: number;
  readonly mounts: number;
  readonly loops: number;
  readonly diskKiB: number;
  readonly rows: number;
  /** Of the database, in transactions and KiB. */
  readonly create: Written;
  readonly exec: Written;
  readonly end: Written;
  /** Of the server's processor, for an exec. */
  readonly execMs: number;
  /** Of the machine's processors, for a start from nothing: taken for the whole of the time that it lasts. */
  readonly startMs: number;
}

interface Written {
  readonly transactions: number;
  readonly kib: number;
}

/** The pages of `bench/results` that the numbers are of; a newer one is named here when what it has is to be reckoned with. */
export const pages = {
  perSandbox: '2026-11-27-per-sandbox.md',
  streams: '2026-11-26-streams.md',
  creates: '2026-11-26-create-and-exec.md',
};

/** @throws Error for a page that lacks something */
export function measured(runtime: RuntimeName): PerSandbox {
  const tables = readNumbers(loadPage(pages.perSandbox));
  const row = (title: string, name: string) => {
    const numbers = tables.get(`${title}, ${runtime}`)?.get(name);
    if (!numbers) throw new Error(`${pages.perSandbox} has no '${name}' under '${title}, ${runtime}'.`);
    return numbers;
  };
  const idle = (name: string) => row('Each idle sandbox', name)[0] ?? 0;
  const written = (name: string): Written => {
    const [transactions = 0, kib = 0] = row('Writes to the database', name);
    return { transactions, kib };
  };
  const [create, exec] = [written('create, with one exec'), written('exec')];
  const rows = [...(tables.get(`Rows of the database, ${runtime}`)?.values() ?? [])];
  return {
    serverKiB: idle('memory of the server (KiB)'),
    serverDescriptors: idle('descriptors of the server'),
    processes: idle('processes on the machine'),
    processKiB: idle('their memory (KiB)'),
    descriptors: idle('their descriptors'),
    mounts: idle('mounts of the server'),
    loops: idle('loop devices'),
    diskKiB: idle('disk (KiB)'),
    rows: rows.reduce((sum, [each = 0]) => sum + (Number.isNaN(each) ? 0 : each), 0),
    create: { transactions: create.transactions - exec.transactions, kib: create.kib - exec.kib },
    ...{ exec, end: written('end') },
    execMs: execMs(runtime),
    startMs: startMs(runtime),
  };
}

function execMs(runtime: RuntimeName): number {
  const line = new RegExp(
    `^\\| execs, 64 at a time \\| skerry \\(${runtime}\\) \\|.*\\| ([0-9.]+) ms each \\|$`,
    'm',
  );
  const found = line.exec(loadPage(pages.streams))?.[1];
  if (found === undefined) throw new Error(`${pages.streams} has no execs of skerry (${runtime}).`);
  return Number(found);
}

function startMs(runtime: RuntimeName): number {
  const row = readPage(loadPage(pages.creates)).get('Create to first output')?.get(`skerry (${runtime})`);
  if (!row) throw new Error(`${pages.creates} has no creates of skerry (${runtime}).`);
  return row.median;
}

const settings = configSchema.parse({});

/** Bounds that Skerry has unless its settings say otherwise. */
export const OWN = {
  maxSandboxes: settings.maxSandboxes,
  /** Addresses of the network that `--subnet auto` takes. */
  slots: new AddressPlan(parseCidr('10.213.0.0/20')).slots,
  keepOutputHours: settings.keepOutputHours,
};

/** What a sandbox is to Kubernetes, as its engine makes it. */
export interface PodObjects {
  /** Of its Pod and its Secret, as JSON. */
  readonly bytes: number;
  /** Containers, those that only prepare the others included. */
  readonly started: number;
  readonly running: number;
}

/** @throws as `measured` */
export function podObjects(): PodObjects {
  const rows = readNumbers(loadPage(pages.perSandbox)).get('A Pod');
  const number = (name: string) => {
    const [value] = rows?.get(name) ?? [];
    if (value === undefined) throw new Error(`${pages.perSandbox} has no '${name}' under 'A Pod'.`);
    return value;
  };
  return {
    bytes: number('bytes of it and its Secret'),
    started: number('containers that start'),
    running: number('containers that run'),
  };
}
