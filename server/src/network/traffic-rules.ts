/**
 * The rules that count what an audited sandbox sends and gets, in a table of their own: nothing in it decides anything, and it stays when the firewall's is made
 * anew. The kernel keeps a count for each place, so a flood costs what any packet costs, and no more than is bounded; who has no audit passes three look-ups.
 *
 * What a sandbox sends is counted before the firewall judges it (`tried`), and again behind that and the bound of connections (`sent`): what is more in the one than in
 * the other was refused. What comes to it is counted just before it is given the addresses that the sandbox knows (`got`). What is let through is counted for places
 * alone that are `known`, as they are from the first packet that was tried: else one for which there was no room would look refused. These are in a set without
 * counts, since a look-up may count as well. What goes through the egress proxy is left out: that tells more of it.
 */
import { run } from '../platform/command.ts';
import type { FirewallMember } from './firewall.ts';
import type { AddressPlan } from './subnet.ts';

/** What of a sandbox is counted, for each place. */
const COUNTS = ['tried', 'sent', 'got'] as const;
type Count = (typeof COUNTS)[number];

/** Where a sandbox sends to. */
export interface Place {
  readonly address: string;
  /** Its number. */
  readonly protocol: number;
  /** Undefined where the protocol has none. */
  readonly port: number | undefined;
}

export interface Counter {
  readonly packets: number;
  readonly bytes: number;
}

/** Of one place; what is not there was not counted. */
export type Counts = { readonly place: Place } & Readonly<Partial<Record<Count, Counter>>>;

export interface Counted {
  /** By `keyOf` of their places. */
  readonly places: ReadonlyMap<string, Counts>;
  /** Packets that it sent to places for which there was no room. */
  readonly beyond: number;
}

/** Places of one sandbox that are counted at once. */
const MAX_PLACES = 512;

/** The firewall is at `dstnat + 10` and `srcnat + 50`, the bound of connections at `dstnat + 20`. */
const HOOKS = {
  tried: { hook: 'prerouting', priority: 'dstnat + 5', device: 'iifname', at: 'ip daddr', port: 'th dport' },
  sent: { hook: 'prerouting', priority: 'dstnat + 30', device: 'iifname', at: 'ip daddr', port: 'th dport' },
  got: { hook: 'postrouting', priority: 'srcnat + 45', device: 'oifname', at: 'ip saddr', port: 'th sport' },
} as const;

/** The two sets of a count: of protocols with ports, and of others. */
const KINDS = [
  { set: '', type: 'ipv4_addr . inet_proto . inet_service', protocols: '{ tcp, udp }', withPort: true },
  { set: '_other', type: 'ipv4_addr . inet_proto', protocols: '!= { tcp, udp }', withPort: false },
] as const;
type Kind = (typeof KINDS)[number];

/** As an element of its set. */
export const keyOf = ({ address, protocol, port }: Place): string =>
  `${address} . ${protocol}${port === undefined ? '' : ` . ${port}`}`;

const tableOf = (table: string): string => `${table}_audit`;
const nameOf = (count: Count | 'beyond' | 'known', device: string, set: Kind['set'] = ''): string =>
  `${count}${set}_${device}`;

/** The table, where it is not there, without changing what is counted. */
export const renderTraffic = (table: string): string => {
  const maps = COUNTS.map((count) => `  map ${count} { type ifname : verdict; }`);
  const chains = COUNTS.map((count) => {
    const { hook, priority, device } = HOOKS[count];
    return `  chain by_${count} {
    type filter hook ${hook} priority ${priority}; policy accept;
    ${device} vmap @${count}
  }`;
  });
  const flushes = COUNTS.map((count) => `flush chain ip ${tableOf(table)} by_${count}`);
  const bare = COUNTS.map((count) => {
    const { hook, priority } = HOOKS[count];
    return `  chain by_${count} { type filter hook ${hook} priority ${priority}; policy accept; }`;
  });
  const whole = [...maps, ...bare, '}', ...flushes, `table ip ${tableOf(table)} {`, ...chains];
  return `table ip ${tableOf(table)} {\n${whole.join('\n')}\n}\n`;
};

/** Counts what a sandbox does from now on, or goes on. The table must be there. @param plan of whose addresses those are left out that stand for the egress proxy */
export function renderCounting(
  table: string,
  plan: AddressPlan,
  { hostInterface: device }: FirewallMember,
): string {
  const proxy = plan.slotAddress(plan.egressSlot);
  const sets = [...COUNTS, 'known' as const].flatMap((count) =>
    KINDS.map(
      ({ set, type }) =>
        `  set ${nameOf(count, device, set)} { type ${type}; size ${MAX_PLACES}; flags dynamic; }`,
    ),
  );
  const chains = COUNTS.map((count) => {
    const { at, port } = HOOKS[count];
    const rules = KINDS.map(({ set, protocols, withPort }) => {
      const key = `${at} . meta l4proto${withPort ? ` . ${port}` : ''}`;
      const known = `@${nameOf('known', device, set)}`;
      const where = count === 'tried' ? `add ${known} { ${key} }` : `${key} ${known}`;
      return `    meta l4proto ${protocols} ${where} add @${nameOf(count, device, set)} { ${key} counter } return`;
    });
    const beyond = count === 'tried' ? [`    counter name ${nameOf('beyond', device)}`] : [];
    return [
      `  chain ${nameOf(count, device)} {`,
      `    ${at} ${proxy} return`,
      ...rules,
      ...beyond,
      '  }',
    ].join('\n');
  });
  const flushes = COUNTS.map((count) => `flush chain ip ${tableOf(table)} ${nameOf(count, device)}`);
  const leads = COUNTS.map(
    (count) => `add element ip ${tableOf(table)} ${count} { "${device}" : jump ${nameOf(count, device)} }`,
  );
  return `table ip ${tableOf(table)} {
  counter ${nameOf('beyond', device)} { }
${sets.join('\n')}
${COUNTS.map((count) => `  chain ${nameOf(count, device)} { }`).join('\n')}
}
${flushes.join('\n')}
table ip ${tableOf(table)} {
${chains.join('\n')}
}
${leads.join('\n')}
`;
}

/** Counts nothing of it any more, and forgets what was. It must be counted. */
export function renderNotCounting(table: string, device: string): string {
  const lines = [
    ...COUNTS.map((count) => `delete element ip ${tableOf(table)} ${count} { "${device}" }`),
    ...COUNTS.map((count) => `flush chain ip ${tableOf(table)} ${nameOf(count, device)}`),
    ...COUNTS.map((count) => `delete chain ip ${tableOf(table)} ${nameOf(count, device)}`),
    ...[...COUNTS, 'known' as const].flatMap((count) =>
      KINDS.map(({ set }) => `delete set ip ${tableOf(table)} ${nameOf(count, device, set)}`),
    ),
    `delete counter ip ${tableOf(table)} ${nameOf('beyond', device)}`,
  ];
  return `${lines.join('\n')}\n`;
}

/** Forgets what was counted of these places. */
export function renderForget(table: string, device: string, places: readonly Counts[]): string {
  const lines = [...COUNTS, 'known' as const].flatMap((count) =>
    KINDS.flatMap(({ set, withPort }) => {
      const counted = places.filter(
        (counts) =>
          counts[count === 'known' ? 'tried' : count] !== undefined &&
          (counts.place.port !== undefined) === withPort,
      );
      if (counted.length === 0) return [];
      const keys = counted.map(({ place }) => keyOf(place)).join(', ');
      return [`delete element ip ${tableOf(table)} ${nameOf(count, device, set)} { ${keys} }`];
    }),
  );
  return `${lines.join('\n')}\n`;
}

/** Removes the table; fine when it is not there. */
export const renderNoTraffic = (table: string): string =>
  `table ip ${tableOf(table)}\ndelete table ip ${tableOf(table)}\n`;

/** Lines of the table as nft lists it, with numbers for everything. */
const HEAD = /^\s*(?:set|counter) (tried|sent|got|beyond)(?:_other)?_(\S+) \{/;
const ELEMENT = /(\d+\.\d+\.\d+\.\d+) \. (\d+)(?: \. (\d+))? counter packets (\d+) bytes (\d+)/g;
const TOTAL = /^\s*packets (\d+) bytes \d+$/;

/**
 * What was counted of each device, in one look; undefined when there is no table. Of a place, what was tried is read before what was sent: what is more in the one than in
 * the other was refused.
 */
export async function readTraffic(table: string): Promise<ReadonlyMap<string, Counted> | undefined> {
  const found = new Map<string, { places: Map<string, Counts>; beyond: number }>();
  let of:
    | { readonly kind: string; readonly counted: { places: Map<string, Counts>; beyond: number } }
    | undefined;
  const readLine = (line: string): void => {
    const [, kind, device] = HEAD.exec(line) ?? [];
    if (kind !== undefined && device !== undefined) {
      const counted = found.get(device) ?? { places: new Map<string, Counts>(), beyond: 0 };
      found.set(device, counted);
      of = { kind, counted };
      return;
    }
    const total = TOTAL.exec(line)?.[1];
    if (of?.kind === 'beyond' && total !== undefined) of.counted.beyond = Number(total);
    for (const [, address = '', protocol, port, packets, bytes] of line.matchAll(ELEMENT)) {
      if (!of) return;
      const place = {
        address,
        protocol: Number(protocol),
        port: port === undefined ? undefined : Number(port),
      };
      const { places } = of.counted;
      const key = keyOf(place);
      const counter = { packets: Number(packets), bytes: Number(bytes) };
      places.set(key, { ...(places.get(key) ?? { place }), [of.kind]: counter });
    }
  };
  let rest = '';
  const { code } = await run(['nft', '--numeric', 'list', 'table', 'ip', tableOf(table)], {
    okCodes: [1],
    maxOutputBytes: 0,
    onOutput: (chunk, stream) => {
      if (stream !== 'stdout') return;
      const lines = `${rest}${chunk.toString('latin1')}`.split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) readLine(line);
    },
  });
  return code === 0 ? found : undefined;
}
