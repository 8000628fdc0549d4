/**
 * What may be reached from sandboxes and who may reach them, as NetworkPolicies: https://kubernetes.io/docs/concepts/services-networking/network-policies/. Two of a server stand
 * from its start on, so that a network has heard of them before any Pod comes; a sandbox with a list has one more of its own. What several allow of one Pod adds up.
 */
import { isIPv6 } from 'node:net';
import type { V1NetworkPolicy, V1NetworkPolicyEgressRule } from '@kubernetes/client-node';
import { type Cidr, formatCidr, overlaps } from '../../network/cidr.ts';
import { closedNetworks, domainsOf, type NetworkPolicy, parseAllowlist } from '../../network/policy.ts';
import type { Cluster } from './cluster.ts';
import {
  LINK_PORT,
  MANAGED,
  NETWORK_LABEL,
  ownedBySecret,
  podName,
  policyMarks,
  type SandboxPod,
  SERVER_LABEL,
  sandboxLabels,
} from './pod-spec.ts';
import { unable } from './unable.ts';

/** A Pod whose policy may change. */
type PolicyHolder = Pick<SandboxPod, 'id' | 'owner'>;

export class PodNetwork {
  readonly #cluster: Cluster;
  readonly #of: Standing;

  constructor(cluster: Cluster, of: Standing) {
    this.#cluster = cluster;
    this.#of = of;
  }

  /** @throws SkerryError `unavailable` when the cluster does not let this server do so */
  async open(): Promise<void> {
    for (const policy of standingPolicies(this.#of)) await this.#cluster.putPolicy(policy);
  }

  async remove(): Promise<void> {
    for (const { metadata } of standingPolicies(this.#of))
      await this.#cluster.removePolicy(metadata?.name ?? '');
  }

  /** Before the Pod is made, or is marked to have it. @throws SkerryError `invalid-argument`, `unavailable` */
  async provide(pod: PolicyHolder, policy: NetworkPolicy): Promise<void> {
    if (policy.kind !== 'allowlist') return;
    const { nameservers } = this.#of;
    await this.#cluster.putPolicy(ownPolicy({ ...this.#of, ...pod }, policy.cidrs, nameservers));
  }

  /** Gives a Pod another. @throws as `provide` */
  async change(pod: PolicyHolder, to: NetworkPolicy): Promise<void> {
    await this.provide(pod, to);
    await this.#cluster.markPod(podName(this.#of.serverId, pod.id), policyMarks(to));
    if (to.kind !== 'allowlist') await this.forget(pod);
  }

  /** Removes what a Pod has of its own. Idempotent. */
  forget({ id }: Pick<PolicyHolder, 'id'>): Promise<void> {
    return this.#cluster.removePolicy(podName(this.#of.serverId, id));
  }
}

/** What a policy has that objects of a cluster cannot say. @throws SkerryError `unimplemented` */
export function requireEnforceable(policy: NetworkPolicy): void {
  if (domainsOf(policy).length > 0) throw unable('be kept to domains');
  if (policy.audited) throw unable('have its connections recorded');
  if (policy.headers !== undefined) throw unable('have secret headers');
}

interface Standing {
  readonly serverId: string;
  /** @see SandboxPod.member */
  readonly member: string | undefined;
  readonly namespace: string;
  /** Who resolves names for Pods; none: whom the nodes ask, wherever that is. */
  readonly nameservers: readonly string[];
}

/** Those that hold for all sandboxes of a server, whichever there are. */
export function standingPolicies({
  serverId,
  namespace,
  nameservers,
}: Omit<Standing, 'member'>): V1NetworkPolicy[] {
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
        egress: [{ to: [block({ base: 0, prefix: 0 })] }, names(nameservers)],
      },
    },
  ];
}

/** That of a sandbox which may reach what is on a list. @throws SkerryError `invalid-argument` */
export const ownPolicy = (
  of: Pick<SandboxPod, 'id' | 'member' | 'namespace' | 'owner' | 'serverId'>,
  cidrs: readonly string[],
  nameservers: readonly string[],
): V1NetworkPolicy => ({
  metadata: ownedBySecret(of),
  spec: {
    podSelector: { matchLabels: sandboxLabels(of) },
    policyTypes: ['Egress'],
    egress: [...listed(parseAllowlist(cidrs)), names(nameservers)],
  },
});

function listed(cidrs: readonly Cidr[]): V1NetworkPolicyEgressRule[] {
  const public_ = cidrs.filter(
    (cidr) => !closedNetworks.some((closed) => overlaps(closed, cidr) && closed.prefix <= cidr.prefix),
  );
  // A rule without any means all of them.
  return public_.length === 0 ? [] : [{ to: public_.map(block) }];
}

/** A network without what is closed to all. */
const block = (cidr: Cidr) => {
  const except = closedNetworks.filter((closed) => overlaps(closed, cidr)).map(formatCidr);
  return { ipBlock: { cidr: formatCidr(cidr), ...(except.length > 0 && { except }) } };
};

const names = (nameservers: readonly string[]): V1NetworkPolicyEgressRule => ({
  ports: ['UDP', 'TCP'].map((protocol) => ({ protocol, port: 53 })),
  ...(nameservers.length > 0 && {
    to: nameservers.map((address) => ({ ipBlock: { cidr: `${address}/${isIPv6(address) ? 128 : 32}` } })),
  }),
});
