/** What so many sandboxes need, and which bound is reached first: arithmetic on `inputs.ts`. */
import type { RuntimeName } from '../../server/src/engines/engine.ts';
import { MACHINE, measured, OWN, PUBLISHED, podObjects, USE } from './inputs.ts';

/** Something that is needed, in words with its number. */
export interface Need {
  readonly what: string;
  readonly amount: (sandboxes: number) => string;
}

/** Where sandboxes stop to be more, unless something is done. */
export interface Bottleneck {
  readonly what: string;
  /** So many sandboxes reach it. */
  readonly at: number;
  /** What makes room for more. */
  readonly lift: string;
}

const [SECOND_MS, MINUTE_S, HOUR_S] = [1_000, 60, 3_600];
const [KIB, MIB] = [1_024, 1_024 ** 2];
const perSecond = { creates: 1 / USE.livesSeconds, execs: USE.execsPerMinute / MINUTE_S };
const { started, running, bytes: objectBytes } = podObjects();

/** Scheduled; pulled, created and started for each container; killing for each that ran. */
const EVENTS = 1 + 3 * started + running;
/** The least that an event takes in etcd: no more than its fields. */
const EVENT_BYTES = 512;
/**
 * Secret and Pod made, Pod bound to a node, marked as somebody's, its status when it has begun to be made, when it runs and when it stopped; Pod marked for deletion and deleted, Secret deleted.
 */
const OBJECT_WRITES = 10;

const number = new Intl.NumberFormat('en-US', { maximumSignificantDigits: 3 });
const shown = (value: number): string => number.format(value);
const sized = (kib: number): string => {
  const units = ['KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
  const unit = Math.min(units.length - 1, Math.max(0, Math.floor(Math.log2(Math.max(1, kib)) / 10)));
  return `${shown(kib / KIB ** unit)} ${units[unit]}`;
};
const each = (what: string, amount: number, text = shown): Need => ({
  what,
  amount: (n) => text(n * amount),
});
/** The smallest IPv4 network with so many addresses. */
const network = (addresses: number): string => {
  const prefix = 32 - Math.ceil(Math.log2(addresses));
  return `${shown(addresses)}: a /${prefix}${prefix < 8 ? ', more than 10.0.0.0/8' : ''}`;
};

/** Whatever runs them. */
export function common(runtime: RuntimeName): Need[] {
  const { create, exec, end, rows, execMs, serverKiB, serverDescriptors } = measured(runtime);
  const { creates, execs } = perSecond;
  const of = (part: 'transactions' | 'kib') => creates * (create[part] + end[part]) + execs * exec[part];
  return [
    each('creates, and as many ends, per second', creates),
    each('execs per second', execs),
    each('transactions of the database per second', of('transactions')),
    each('written to the database’s log per second', of('kib'), sized),
    each('rows made per second, with one exec each', creates * rows),
    each(
      `rows of sandboxes that ended, kept for ${OWN.keepOutputHours} hours (\`--keep-output-hours\`)`,
      creates * rows * OWN.keepOutputHours * HOUR_S,
    ),
    each('processors that servers need for execs', (execs * execMs) / SECOND_MS),
    each('memory of servers', serverKiB, sized),
    each('descriptors of servers', serverDescriptors),
  ];
}

/** On machines of their own: `engines/oci`. */
export function local(runtime: RuntimeName): Need[] {
  const { processes, processKiB, descriptors, loops, diskKiB, startMs } = measured(runtime);
  const perMachine = sandboxesPerMachine(runtime);
  return [
    {
      what: `machines of ${MACHINE.processors} processors and ${MACHINE.memoryMiB / KIB} GiB, by memory`,
      amount: (n) => shown(Math.ceil(n / perMachine)),
    },
    each('memory of idle sandboxes', processKiB, sized),
    each(`memory with programs of ${USE.programsMiB} MiB`, processKiB + USE.programsMiB * KIB, sized),
    each('processors that starts need, all from nothing', (perSecond.creates * startMs) / SECOND_MS),
    each('processes', processes),
    each('descriptors of these', descriptors),
    each('loop devices', loops),
    each('disk, before programs write', diskKiB, sized),
    { what: 'addresses on machines (two each)', amount: (n) => network(2 * n) },
  ];
}

const sandboxesPerMachine = (runtime: RuntimeName): number =>
  Math.floor((MACHINE.memoryMiB * KIB) / (measured(runtime).processKiB + USE.programsMiB * KIB));

/** As Pods of clusters: `engines/kubernetes`. */
export function kubernetes(): Need[] {
  const { podsPerNode, pods, eventsLiveSeconds, nodePrefix } = PUBLISHED;
  const nodes = (n: number) => Math.ceil(n / podsPerNode.value);
  const pulls = (n: number) => nodes(n) * Math.min(USE.images, n);
  return [
    { what: `nodes, by ${podsPerNode.value} Pods each`, amount: (n) => shown(nodes(n)) },
    { what: `clusters, by ${shown(pods.value)} Pods each`, amount: (n) => shown(Math.ceil(n / pods.value)) },
    {
      what: 'addresses of Pods, by the network of each node',
      amount: (n) => network(nodes(n) * 2 ** (32 - nodePrefix.value)),
    },
    each('Pods and Secrets in etcd', 2),
    each('their size, as they are made', objectBytes / KIB, sized),
    each('writes of these per second, at least', perSecond.creates * OBJECT_WRITES),
    each(`events per second, ${EVENTS} for each Pod`, perSecond.creates * EVENTS),
    each('events in etcd, each for an hour', perSecond.creates * EVENTS * eventsLiveSeconds.value),
    { what: `images pulled until all ${USE.images} are on each node`, amount: (n) => shown(pulls(n)) },
    { what: `bytes of these, ${USE.imageMiB} MiB each`, amount: (n) => sized(pulls(n) * USE.imageMiB * KIB) },
  ];
}

const inOrder = (all: readonly Bottleneck[]): Bottleneck[] => all.toSorted((one, other) => one.at - other.at);

/** Of one machine with one server. */
export function localBottlenecks(runtime: RuntimeName): Bottleneck[] {
  const { execMs, startMs } = measured(runtime);
  return inOrder([
    {
      what: `\`--max-sandboxes\`, ${OWN.maxSandboxes} by default`,
      at: OWN.maxSandboxes,
      lift: 'the setting',
    },
    {
      what: `memory of a machine of ${MACHINE.memoryMiB / KIB} GiB, with programs of ${USE.programsMiB} MiB`,
      at: sandboxesPerMachine(runtime),
      lift: 'suspending what idles (sleep.md), more memory, more machines',
    },
    {
      what: 'addresses of the network that `--subnet auto` takes',
      at: OWN.slots,
      lift: '`--subnet` with a larger one: a /16 has sixteen times as many',
    },
    {
      what: 'the one thread of the server that execs go through',
      at: SECOND_MS / (perSecond.execs * execMs),
      lift: 'more servers, each with machines of its own',
    },
    {
      what: `processors of a machine of ${MACHINE.processors}, if all they did was to start sandboxes`,
      at: (MACHINE.processors * SECOND_MS) / (perSecond.creates * startMs),
      lift: 'more machines; the pool moves the work ahead of who waits, and makes it no less',
    },
  ]);
}

/** Of one cluster with one server. */
export function clusterBottlenecks(runtime: RuntimeName): Bottleneck[] {
  const { execMs } = measured(runtime);
  const { podsPerNode, nodes, pods, containers, etcdMiB, eventsLiveSeconds, schedulerPerSecond } = PUBLISHED;
  const eventBytes = perSecond.creates * EVENTS * eventsLiveSeconds.value * EVENT_BYTES;
  return inOrder([
    {
      what: 'the one thread of the server that execs go through',
      at: SECOND_MS / (perSecond.execs * execMs),
      lift: 'more servers under the one that leads, each of which keeps a share (`replicas` of the chart)',
    },
    {
      what: `binds of the scheduler, ${schedulerPerSecond.value} per second unless it is told more`,
      at: schedulerPerSecond.value / perSecond.creates,
      lift: '`--kube-api-qps` of kube-scheduler; Pods that wait for somebody and are kept',
    },
    {
      what: `etcd, ${etcdMiB.value / KIB} GiB, Pods and Secrets and the events of an hour in it`,
      at: (etcdMiB.value * MIB) / (objectBytes + eventBytes),
      lift: 'an etcd of its own for events, a shorter `--event-ttl`',
    },
    { what: `Pods of a cluster`, at: pods.value, lift: 'more clusters, each with servers of its own' },
    {
      what: `containers of a cluster, ${running} for each sandbox`,
      at: containers.value / running,
      lift: 'more clusters',
    },
    {
      what: `nodes of a cluster with as many Pods as each may have`,
      at: nodes.value * podsPerNode.value,
      lift: 'more clusters',
    },
  ]);
}
