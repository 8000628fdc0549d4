/** What audited sandboxes reach and try to by addresses, as the kernel counts it (`traffic-rules.ts`): made into events, a place at a time. */
import { Limiter } from '../platform/limiter.ts';
import type { Logger } from '../telemetry/logger.ts';
import { applyRules, type FirewallMember } from './firewall.ts';
import { CONSTANT } from './inside.ts';
import type { NetworkEvent, Target } from './network-events.ts';
import type { AddressPlan } from './subnet.ts';
import {
  type Counted,
  type Counts,
  keyOf,
  readTraffic,
  renderCounting,
  renderForget,
  renderNoTraffic,
  renderNotCounting,
  renderTraffic,
} from './traffic-rules.ts';

export interface TrafficAuditOptions {
  readonly table: string;
  readonly plan: AddressPlan;
  /** What names the resolver gave a sandbox these addresses for: the last one of each. */
  readonly namesOf: (sandbox: string, addresses: readonly string[]) => Promise<ReadonlyMap<string, string>>;
  readonly logger: Pick<Logger, 'warn'>;
}

/** A place where nothing was sent and nothing came from for so long is told of as over, and its room is another's. */
const QUIET_MS = 10_000;
/** Events of one sandbox from one look; what is more is told by the next. */
const MAX_EVENTS = 64;
/** Refused places beside each other from which on they are told of together. */
const MANY = 8;
/** Between looks. */
const LOOK_MS = 900;
/** And this many times as long as the last one took: a flood of places makes looks slower, and rarer. */
const REST = 20;

/** A place that was told of, or is to be. */
interface Flow {
  counts: Counts;
  /** When it was seen to be another than before. */
  changedMs: number;
  open: boolean;
  refused: boolean;
}

interface Audited {
  readonly member: FirewallMember;
  readonly flows: Map<string, Flow>;
  /** As of the last look. */
  beyond: number;
  /** The look that was told of. */
  toldMs: number;
}

interface Look {
  readonly counted: ReadonlyMap<string, Counted> | undefined;
  readonly atMs: number;
}

export class TrafficAudit {
  readonly #options: TrafficAuditOptions;
  readonly #audited = new Map<string, Audited>();
  /** Looks and changes one after the other. */
  readonly #turns = new Limiter(1);
  #last: Look = { counted: undefined, atMs: Number.NEGATIVE_INFINITY };
  #restUntilMs = Number.NEGATIVE_INFINITY;

  constructor(options: TrafficAuditOptions) {
    this.#options = options;
  }

  /** Goes on with these, and with nobody else whom an earlier server counted. */
  async open(members: readonly FirewallMember[]): Promise<void> {
    for (const member of members) this.#remember(member);
    await this.#turns.run(async () => {
      const counted = await readTraffic(this.#options.table);
      if (!counted && members.length === 0) return;
      const strangers = [...(counted?.keys() ?? [])].filter((device) => !this.#audited.has(device));
      await this.#build(strangers);
    });
  }

  /** Counts what it does from now on. Once more is fine. */
  async add(member: FirewallMember): Promise<void> {
    if (this.#audited.has(member.hostInterface)) return;
    await this.#turns.run(async () => {
      const { table, plan } = this.#options;
      await applyRules(`${renderTraffic(table)}${renderCounting(table, plan, member)}`);
      this.#remember(member);
    });
  }

  /** Forgets it. Fine where it is not audited. */
  async drop({ hostInterface: device }: FirewallMember): Promise<void> {
    if (!this.#audited.delete(device)) return;
    await this.#turns.run(async () => {
      const dropped = applyRules(renderNotCounting(this.#options.table, device));
      // Somebody took the table away: then there is nothing to forget.
      await dropped.catch((err: unknown) =>
        this.#options.logger.warn({ device, err }, 'network.audit-not-dropped'),
      );
    });
  }

  /** Makes the rules anew where somebody took them away; what they had counted is lost. */
  async mend(): Promise<void> {
    if (this.#audited.size === 0) return;
    await this.#turns.run(async () => {
      const counted = await readTraffic(this.#options.table);
      if ([...this.#audited.keys()].every((device) => counted?.has(device))) return;
      this.#options.logger.warn({}, 'network.audit-rebuilt');
      await this.#build([]);
    });
  }

  async remove(): Promise<void> {
    await applyRules(renderNoTraffic(this.#options.table));
  }

  /** What is new since it was last asked. @param last tells all that is known to its end, and looks at once */
  async events({ hostInterface: device }: FirewallMember, last = false): Promise<readonly NetworkEvent[]> {
    if (!this.#audited.has(device)) return [];
    return this.#turns.run(async () => {
      const audited = this.#audited.get(device);
      if (!audited) return [];
      const { counted, atMs } = await this.#look(last);
      const own = counted?.get(device);
      if (!own || atMs === audited.toldMs) return [];
      audited.toldMs = atMs;
      return this.#tell(audited, own, last);
    });
  }

  #remember(member: FirewallMember): void {
    this.#audited.set(member.hostInterface, {
      ...{ member, flows: new Map(), beyond: 0 },
      toldMs: Number.NEGATIVE_INFINITY,
    });
  }

  async #build(strangers: readonly string[]): Promise<void> {
    const { table, plan } = this.#options;
    const lines = [...this.#audited.values()].map(({ member }) => renderCounting(table, plan, member));
    const without = strangers.map((device) => renderNotCounting(table, device));
    await applyRules(`${renderTraffic(table)}${without.join('')}${lines.join('')}`);
  }

  /** One look is everybody's until it is time for the next. */
  async #look(now = false): Promise<Look> {
    const begun = performance.now();
    if (!now && begun < this.#restUntilMs) return this.#last;
    const counted = await readTraffic(this.#options.table);
    const atMs = performance.now();
    this.#last = { counted, atMs };
    this.#restUntilMs = atMs + Math.max(LOOK_MS, REST * (atMs - begun));
    return this.#last;
  }

  /** Has the kernel forget what is told to its end. */
  async #tell(audited: Audited, { places, beyond }: Counted, last: boolean): Promise<NetworkEvent[]> {
    const { member, flows } = audited;
    const nowMs = performance.now();
    for (const [key, counts] of places) follow(flows, key, counts, nowMs);
    for (const key of flows.keys()) if (!places.has(key)) flows.delete(key);
    const room = last ? Number.POSITIVE_INFINITY : MAX_EVENTS;
    const opened = [...flows.values()].filter(({ open, counts }) => !open && counts.sent).slice(0, room);
    const refused = [...flows.values()].filter((flow) => !flow.refused && wasRefused(flow.counts));
    const over = [...flows.values()]
      .filter((flow) => last || nowMs - flow.changedMs >= QUIET_MS)
      .filter((flow) => !flow.counts.sent || flow.open || opened.includes(flow))
      .slice(0, room);
    const timeMs = Date.now();
    const targets = await this.#targetsOf(member, [...opened, ...refused, ...over]);
    const at = (flow: Flow, outcome: Outcome): NetworkEvent[] => {
      const to = targets.get(flow);
      return to ? [{ timeMs, to, outcome }] : [];
    };
    const refusals = groupsOf(refused.flatMap((flow) => targets.get(flow) ?? []));
    const events = [
      ...opened.flatMap((flow) => at(flow, { kind: 'open' })),
      ...refusals
        .slice(0, room)
        .map((to): NetworkEvent => ({ ...{ timeMs, to }, outcome: { kind: 'refused' } })),
      ...(refusals.length > room ? [{ timeMs, lost: refusals.length - room }] : []),
      ...over
        .filter(({ counts }) => counts.sent)
        .flatMap((flow) =>
          at(flow, {
            kind: 'over',
            sent: flow.counts.sent?.bytes ?? 0,
            received: flow.counts.got?.bytes ?? 0,
          }),
        ),
      ...(beyond > audited.beyond ? [{ timeMs, packets: beyond - audited.beyond }] : []),
    ];
    for (const flow of opened) flow.open = true;
    for (const flow of refused) flow.refused = true;
    audited.beyond = beyond;
    await this.#forget(audited, over);
    return events;
  }

  async #forget({ member, flows }: Audited, over: readonly Flow[]): Promise<void> {
    if (over.length === 0) return;
    const { table, logger } = this.#options;
    const device = member.hostInterface;
    const counts = over.map((flow) => flow.counts);
    try {
      await applyRules(renderForget(table, device, counts));
      for (const { place } of counts) flows.delete(keyOf(place));
    } catch (err) {
      logger.warn({ device, err }, 'network.audit-not-forgotten'); // somebody took the table away: it is made anew
    }
  }

  /** With the names and addresses that the sandbox knows. */
  async #targetsOf(member: FirewallMember, flows: readonly Flow[]): Promise<Map<Flow, Target>> {
    const { plan, namesOf } = this.#options;
    const places = new Set(flows.map(({ counts }) => counts.place.address));
    const names = await namesOf(member.address, [...places]).catch(() => new Map<string, string>());
    const inside = (address: string): Pick<Target, 'address' | 'name'> => {
      if (address === plan.resolver) {
        return { address: member.addressing === 'own' ? address : CONSTANT.resolver, name: 'the resolver' };
      }
      if (address === member.hostAddress && member.addressing !== 'own') return { address: CONSTANT.gateway };
      const name = names.get(address);
      return name === undefined ? { address } : { address, name };
    };
    return new Map(
      flows.map((flow) => {
        const { address, protocol, port } = flow.counts.place;
        return [flow, { ...inside(address), protocol, ...(port !== undefined && { port }), places: 1 }];
      }),
    );
  }
}

type Outcome = Extract<NetworkEvent, { readonly to: Target }>['outcome'];

function follow(flows: Map<string, Flow>, key: string, counts: Counts, nowMs: number): void {
  const flow = flows.get(key);
  if (!flow) {
    flows.set(key, { counts, changedMs: nowMs, open: false, refused: false });
    return;
  }
  const same = (['tried', 'sent', 'got'] as const).every(
    (count) => flow.counts[count]?.packets === counts[count]?.packets,
  );
  if (!same) flow.changedMs = nowMs;
  flow.counts = counts;
}

const wasRefused = ({ tried, sent }: Counts): boolean => (tried?.packets ?? 0) > (sent?.packets ?? 0);

/** Those that differ in their port alone, or else in their address alone, are one where they are many. */
function groupsOf(targets: readonly Target[]): readonly Target[] {
  const together = (
    some: readonly Target[],
    keyOf: (target: Target) => string,
    joined: (first: Target) => Target,
  ) => {
    const groups = Map.groupBy(some, keyOf).values();
    return [...groups].flatMap((group) => {
      const [first] = group;
      return first && group.length >= MANY ? [{ ...joined(first), places: group.length }] : group;
    });
  };
  const byAddress = together(
    targets,
    ({ protocol, address }) => `${protocol} ${address}`,
    ({ port: _, ...rest }) => rest,
  );
  return together(
    byAddress,
    ({ protocol, port, places, address }) => (places > 1 ? `${address}` : `${protocol} ${port}`),
    ({ address: _, name: __, ...rest }) => rest,
  );
}
