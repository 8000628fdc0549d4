/** What an audited sandbox did on its network, as the egress proxy tells it (`egress/src/audit.rs`), and as the kernel counts it (`traffic-audit.ts`). */
import { isIPv4 } from 'node:net';

/** How it named the host: in a question for its address, or in a connection. */
export type NamedBy = 'question' | 'tls' | 'http';

export type NetworkEvent = { readonly timeMs: number } & (
  | {
      readonly by: NamedBy;
      /** Undefined when it named none, or not clearly. */
      readonly name: string | undefined;
      readonly outcome:
        | { readonly kind: 'open'; readonly address: string }
        /** Bytes that it sent and got. */
        | {
            readonly kind: 'over';
            readonly address: string;
            readonly sent: number;
            readonly received: number;
          }
        | { readonly kind: 'not-allowed' | 'unclear' | 'unreachable' };
    }
  /** By addresses; of many that were refused alike one event tells. */
  | {
      readonly to: Target;
      readonly outcome:
        | { readonly kind: 'open' | 'refused' }
        /** Bytes that it sent and got, headers included. */
        | { readonly kind: 'over'; readonly sent: number; readonly received: number };
    }
  /** There was no room for so many. */
  | { readonly lost: number }
  /** Packets that it sent to places for which there was no room. */
  | { readonly packets: number }
);

export interface Target {
  /** Its number (IANA). */
  readonly protocol: number;
  /** Undefined where there are many. */
  readonly address?: string;
  /** The last one that the resolver gave the sandbox this address for. */
  readonly name?: string;
  /** Undefined where there are many, or the protocol has none. */
  readonly port?: number;
  /** How many places it stands for. */
  readonly places: number;
}

/** The proxy hears a hostile program: what does not have its own form is left out. */
export function readEvents(text: string): NetworkEvent[] {
  return text.split('\n').flatMap((line) => readEvent(line) ?? []);
}

const LINE =
  /^(\d{1,15}) (question|tls|http) ([a-z0-9._-]{1,253}) ([a-z-]+)(?: ([0-9.]+)(?: (\d{1,15}) (\d{1,15}))?)?$/;

function readEvent(line: string): NetworkEvent | undefined {
  const lost = /^lost (\d{1,15})$/.exec(line)?.[1];
  if (lost !== undefined) return { timeMs: Date.now(), lost: Number(lost) };
  const [, time, by, host, kind, address = '', sent, received] = LINE.exec(line) ?? [];
  const base = {
    timeMs: Number(time),
    by: by as NamedBy, // one of the three in the pattern
    name: host === '-' ? undefined : host,
  };
  switch (kind) {
    case 'open':
      return isIPv4(address) ? { ...base, outcome: { kind, address } } : undefined;
    case 'over': {
      const bytes = { sent: Number(sent), received: Number(received) };
      return isIPv4(address) && sent !== undefined
        ? { ...base, outcome: { kind, address, ...bytes } }
        : undefined;
    }
    case 'not-allowed':
    case 'unclear':
    case 'unreachable':
      return { ...base, outcome: { kind } };
    default:
      return undefined;
  }
}

const PORTS = { tls: 443, http: 80 } as const;

/** A line for people. */
export function describeEvent(event: NetworkEvent): string {
  if ('lost' in event) return `Network: ${event.lost} more events, for which there was no room.`;
  if ('packets' in event)
    return `Network: ${event.packets} more packets, to places for which there was no room.`;
  if ('to' in event) return describeTraffic(event);
  const { by, name = 'no name', outcome } = event;
  if (by === 'question') return `Network: refused question for ${name}.`;
  const what = `${by} ${name}`;
  switch (outcome.kind) {
    case 'open':
      return `Network: allowed ${what} at ${outcome.address}:${PORTS[by]}.`;
    case 'over':
      return `Network: ended ${what} at ${outcome.address}:${PORTS[by]}, ${outcome.sent} bytes sent, ${outcome.received} received.`;
    case 'not-allowed':
      return `Network: refused ${what}: not allowed.`;
    case 'unclear':
      return `Network: refused ${by}: it does not clearly say which host it is for.`;
    case 'unreachable':
      return `Network: failed ${what}: it cannot be reached.`;
    default:
      return outcome satisfies never;
  }
}

const PROTOCOLS: Readonly<Record<number, string>> = { 1: 'icmp', 6: 'tcp', 17: 'udp' };

function describeTraffic({ to, outcome }: Extract<NetworkEvent, { readonly to: Target }>): string {
  const what = `${PROTOCOLS[to.protocol] ?? `protocol ${to.protocol}`}${to.name ? ` ${to.name} at` : ''}`;
  const port = to.port === undefined ? '' : to.address === undefined ? `port ${to.port}` : `:${to.port}`;
  const many = to.places === 1 ? '' : `, ${to.places} ${to.address === undefined ? 'addresses' : 'ports'}`;
  const where = `${what} ${to.address ?? ''}${port}${many}`.replace(/ ,/, ',');
  switch (outcome.kind) {
    case 'open':
      return `Network: allowed ${where}.`;
    case 'refused':
      return `Network: refused ${where}.`;
    case 'over':
      return `Network: ended ${where}, ${outcome.sent} bytes sent, ${outcome.received} received.`;
    default:
      return outcome satisfies never;
  }
}
