/**
 * What may be reached from sandboxes and who may reach them, as NetworkPolicies: https://kubernetes.io/docs/concepts/services-networking/network-policies/. Three of a server stand
 * from its start on, so that a network has heard of them before any Pod comes; a sandbox with a list has one more of its own. What several allow of one Pod adds up.
 */
import { isIPv6 } from 'node:net';
import type { V1NetworkPolicy, V1NetworkPolicyEgressRule } from '@kubernetes/client-node';
import { type Cidr, formatCidr, overlaps } from '../../network/cidr.ts';
import { closedNetworks, parseAllowlist } from '../../network/policy.ts';
import { gatewayLabels, HOST_PORTS, NAMES_PORT } from './gateway-spec.ts';
import {
  LINK_PORT,
  MANAGED,
  NETWORK_LABEL,
  ownedBySecret,
  type SandboxPod,
  SERVER_LABEL,
  sandboxLabels,
} from './pod-spec.ts';

export interface Standing {
  readonly serverId: string;
  readonly namespace: string;
  /** Who resolves names for Pods; none: whom the nodes ask, wherever that is. */
  readonly nameservers: readonly string[];
}

/** Those that hold for all sandboxes of a server, whichever there are. */
export function standingPolicies({ serverId, namespace, nameservers }: Standing): V1NetworkPolicy[] {
  const metadata = (name: string) => ({
    name: `skerry-${serverId}-${name}`,
    namespace,
    labels: { ...MANAGED, [SERVER_LABEL]: serverId },
  });
  const all = { [SERVER_LABEL]: serverId };
  return [
    {
      metadata: metadata('closed'),
      spec: {
        podSelector: { matchLabels: all },
        policyTypes: ['Ingress', 'Egress'],
        // The link lets in who shows the server's certificate.
        ingress: [{ ports: [{ protocol: 'TCP', port: LINK_PORT }] }],
        egress: [],
      },
    },
    {
      metadata: metadata('open'),
      spec: {
        podSelector: { matchLabels: { ...all, [NETWORK_LABEL]: 'open' } },
        policyTypes: ['Egress'],
        egress: [internet, names(nameservers)],
      },
    },
    {
      // What it lets through to whom it knows by what it is told: here it is as open as a sandbox may be.
      metadata: metadata('gateway'),
      spec: {
        podSelector: { matchLabels: gatewayLabels(serverId) },
        policyTypes: ['Ingress', 'Egress'],
        ingress: [{ _from: [{ podSelector: { matchLabels: all } }], ports: gatewayPorts(true) }],
        egress: [internet, names(nameservers)],
      },
    },
  ];
}

/**
 * That of a sandbox which may reach what is on a list, or asks the gateway for names.
 * @param way whom it asks for names: nameservers; or the gateway, of which it has names alone, or hosts as well
 * @throws SkerryError `invalid-argument`
 */
export const ownPolicy = (
  of: Pick<SandboxPod, 'id' | 'member' | 'namespace' | 'owner' | 'serverId'>,
  cidrs: readonly string[],
  way: readonly string[] | 'gateway-hosts' | 'gateway-names',
): V1NetworkPolicy => ({
  metadata: ownedBySecret(of),
  spec: {
    podSelector: { matchLabels: sandboxLabels(of) },
    policyTypes: ['Egress'],
    egress: [
      ...listed(parseAllowlist(cidrs)),
      typeof way === 'string'
        ? {
            to: [{ podSelector: { matchLabels: gatewayLabels(of.serverId) } }],
            ports: gatewayPorts(way === 'gateway-hosts'),
          }
        : names(way),
    ],
  },
});

const gatewayPorts = (hosts: boolean) => [
  ...['UDP', 'TCP'].map((protocol) => ({ protocol, port: NAMES_PORT })),
  ...(hosts ? HOST_PORTS : []).map((port) => ({ protocol: 'TCP', port })),
];

function listed(cidrs: readonly Cidr[]): V1NetworkPolicyEgressRule[] {
  const public_ = cidrs.filter(
    (cidr) => !closedNetworks.some((closed) => overlaps(closed, cidr) && closed.prefix <= cidr.prefix),
  );
  // A rule without any means all of them.
  return public_.length === 0 ? [] : [{ to: public_.map(block) }];
}

/** A network without what is closed to all. */
function block(cidr: Cidr) {
  const except = closedNetworks.filter((closed) => overlaps(closed, cidr)).map(formatCidr);
  return { ipBlock: { cidr: formatCidr(cidr), ...(except.length > 0 && { except }) } };
}

const internet: V1NetworkPolicyEgressRule = { to: [block({ base: 0, prefix: 0 })] };

const names = (nameservers: readonly string[]): V1NetworkPolicyEgressRule => ({
  ports: ['UDP', 'TCP'].map((protocol) => ({ protocol, port: 53 })),
  ...(nameservers.length > 0 && {
    to: nameservers.map((address) => ({ ipBlock: { cidr: `${address}/${isIPv6(address) ? 128 : 32}` } })),
  }),
});
