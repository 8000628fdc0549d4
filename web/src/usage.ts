/** What sandboxes take of the machine, as long as somebody looks. */
import { useRef } from 'preact/hooks';
import type { Usage, UsageList } from '../../sdk/src/index.ts';
import { bytes, percent } from './format.ts';
import { useAsked } from './hooks.ts';
import { get } from './session.ts';

const REFRESH_MS = 3_000;

/** As text; a dash where it is not known, or not yet. */
interface Taken {
  readonly cpu: string;
  readonly memory: string;
  readonly processes: string;
  /** In all, and how fast now. */
  readonly received: string;
  readonly sent: string;
  /** Through tunnels and the like: connections now, and what came and went by them in all. */
  readonly ports: string;
  /** How fast now, in and out. */
  readonly network: readonly string[];
}

const UNKNOWN: Taken = {
  ...{ cpu: '–', memory: '–', processes: '–' },
  ...{ received: '–', sent: '–', ports: '–', network: ['–'] },
};

interface Look {
  readonly atMs: number;
  readonly usage: ReadonlyMap<string, Usage>;
}

/** By a sandbox's id. What is taken in a time is known from the second answer on. */
export function useUsage(): (id: string) => Taken {
  const before = useRef<Look | undefined>(undefined);
  const { value } = useAsked(
    async (signal) => {
      const { sandboxes } = await get<UsageList>('/v1/usage', signal);
      const look = { atMs: performance.now(), usage: new Map(sandboxes.map((each) => [each.id, each])) };
      const last = before.current;
      before.current = look;
      return new Map(sandboxes.map((now): [string, Taken] => [now.id, takenOf(now, look, last)]));
    },
    '',
    REFRESH_MS,
  );
  return (id) => value?.get(id) ?? UNKNOWN;
}

function takenOf(now: Usage, { atMs }: Look, last: Look | undefined): Taken {
  const earlier = last?.usage.get(now.id);
  /** By how much something grew in a millisecond. */
  const speedOf = (what: (usage: Usage) => number | null): number | undefined => {
    const [from, to] = [earlier && what(earlier), what(now)];
    if (!last || from === undefined || from === null || to === null) return undefined;
    return Math.max(0, to - from) / (atMs - last.atMs); // one that woke begins anew
  };
  const perSecond = (speed: number | undefined) =>
    speed === undefined ? undefined : `${bytes(Math.round(speed * 1000))}/s`;
  const cpu = speedOf(({ cpuMs }) => cpuMs);
  const received = perSecond(speedOf(({ receivedBytes }) => receivedBytes));
  const sent = perSecond(speedOf(({ sentBytes }) => sentBytes));
  const limit = now.memoryLimitMiB === null ? '' : ` of ${bytes(now.memoryLimitMiB * 2 ** 20)}`;
  const inAll = (count: number | null, speed: string | undefined) =>
    count === null ? '–' : `${bytes(count)}${speed === undefined ? '' : `, ${speed} now`}`;
  return {
    cpu: cpu === undefined ? '–' : percent(cpu),
    memory: `${bytes(now.memoryBytes)}${limit}`,
    processes: String(now.processes),
    received: inAll(now.receivedBytes, received),
    sent: inAll(now.sentBytes, sent),
    ports: portsOf(now),
    network: received === undefined ? UNKNOWN.network : [`${received} in`, `${sent} out`],
  };
}

const portsOf = ({ ports: { connections, receivedBytes, sentBytes } }: Usage): string =>
  `${connections} ${connections === 1 ? 'connection' : 'connections'}; ${bytes(receivedBytes)} in, ${bytes(sentBytes)} out`;
