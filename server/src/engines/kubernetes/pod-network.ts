/**
 * What Pods may reach, and how they find it: the cluster's policies, and the gateway of those that may reach domains. A sandbox that asks the gateway for names does so
 * to its end, whatever its policy becomes.
 */
import { SkerryError } from '../../errors/skerry-error.ts';
import type { InstanceId } from '../../ids.ts';
import { type Allowed, allowedBy, Egress } from '../../network/egress.ts';
import { domainsOf, type NetworkPolicy } from '../../network/policy.ts';
import type { HeaderTrust, SecretHeaders } from '../../network/secret-headers.ts';
import { delay } from '../../platform/wait.ts';
import type { Logger } from '../../telemetry/logger.ts';
import type { Cluster } from './cluster.ts';
import { GatewayPod, type GatewayPodOptions } from './gateway-pod.ts';
import type { Link } from './link.ts';
import { ownPolicy, standingPolicies } from './network-policies.ts';
import type { PodAgent } from './pod-agent.ts';
import { gatewayMark, podName, policyMarks, type SandboxPod } from './pod-spec.ts';
import { unable } from './unable.ts';

/** A Pod whose policy may change. */
type PolicyHolder = Pick<SandboxPod, 'id' | 'owner'>;

/** One that has an address. */
export interface NetworkedPod extends PolicyHolder {
  readonly address: string;
  /** Has its programs ask there for names. @throws SkerryError `unimplemented` for an agent of an older version */
  readonly askForNames: (nameserver: string) => Promise<void>;
}

/** Of a Pod whose agent answers. */
export const networked = ({
  agent,
  link,
  ...pod
}: Omit<NetworkedPod, 'askForNames'> & { readonly agent: PodAgent; readonly link: Link }): NetworkedPod => ({
  ...pod,
  askForNames: (nameserver) =>
    agent.setNameserver(
      (signal) => link.dial(pod.address, signal),
      nameserver,
      AbortSignal.timeout(NAMESERVER_MS),
    ),
});

/** One that asks the gateway for names. */
interface Asking {
  readonly pod: NetworkedPod;
  policy: NetworkPolicy;
  /** Where it asks: that of the gateway, or of one that was lost. */
  gateway: string;
}

export interface PodNetworkOptions extends Omit<GatewayPodOptions, 'logger' | 'onAddress' | 'onRunning'> {
  /** Opens secret headers, and says whom who has some trusts; undefined where sandboxes have none. */
  readonly headers: (Pick<SecretHeaders, 'open'> & { readonly trust: HeaderTrust }) | undefined;
  readonly logger: Logger;
}

const ALL = '0.0.0.0/0';
/** A file is written in the sandbox. */
const NAMESERVER_MS = 30_000;
/** Between tries to tell a sandbox where the gateway is. */
const PAUSE_MS = 1000;

export class PodNetwork {
  readonly #options: PodNetworkOptions;
  readonly #cluster: Cluster;
  readonly #egress: Egress;
  readonly #asking = new Map<InstanceId, Asking>();
  /** Those with a policy of their own. */
  readonly #own = new Set<InstanceId>();
  readonly #closing = new AbortController();
  #gatewayAddress = '';
  /** Set from when somebody needed the gateway. */
  #opening: Promise<void> | undefined;

  constructor(options: PodNetworkOptions) {
    this.#options = options;
    this.#cluster = options.cluster;
    this.#egress = new Egress({
      host: (onRunning) =>
        new GatewayPod({ ...options, onRunning, onAddress: (address) => this.#moved(address) }),
      headerTrust: async () => this.#headers.trust,
    });
  }

  /** @throws SkerryError `unavailable` when the cluster does not let this server do so */
  async open(): Promise<void> {
    for (const policy of standingPolicies(this.#options)) await this.#cluster.putPolicy(policy);
  }

  async close(): Promise<void> {
    this.#closing.abort();
    await this.#egress.close();
  }

  async remove(): Promise<void> {
    await this.close();
    await this.#egress.remove();
    for (const { metadata } of standingPolicies(this.#options))
      await this.#cluster.removePolicy(metadata?.name ?? '');
  }

  /**
   * Before the Pod is made.
   * @returns where it is to ask for names, if that is not where all ask. @throws SkerryError `invalid-argument`, `unavailable`
   */
  async provide(pod: PolicyHolder, policy: NetworkPolicy): Promise<string | undefined> {
    const gateway = leadsThrough(policy) ? await this.#openGateway() : undefined;
    await this.#putOwn(pod, policy, gateway !== undefined);
    return gateway;
  }

  /** Before anybody has the Pod. @param gateway where it asks for names, as `provide` said. @throws SkerryError `unavailable` */
  async admit(pod: NetworkedPod, policy: NetworkPolicy, gateway: string | undefined): Promise<void> {
    if (gateway === undefined) return;
    const asking = { pod, policy, gateway };
    this.#asking.set(pod.id, asking);
    await this.#tell(asking);
    if (gateway !== this.#gatewayAddress) await this.#lead(asking);
  }

  /** Goes on with those of an earlier server. @param gateway where each asks for names */
  adopt(pods: readonly (Omit<Asking, 'gateway'> & { readonly gateway: string | undefined })[]): void {
    for (const { pod, policy, gateway } of pods) {
      if (gateway !== undefined) this.#asking.set(pod.id, { pod, policy, gateway });
      if (gateway !== undefined || policy.kind === 'allowlist') this.#own.add(pod.id);
    }
    if (pods.some(({ gateway }) => gateway !== undefined)) void this.#goOn();
  }

  /** Gives a Pod another. @throws as `provide` */
  async change(pod: NetworkedPod, to: NetworkPolicy): Promise<void> {
    let asking = this.#asking.get(pod.id);
    if (leadsThrough(to) && !asking) {
      const gateway = await this.#openGateway();
      await this.#setNameserver(pod, gateway);
      asking = { pod, policy: to, gateway };
      this.#asking.set(pod.id, asking);
    }
    if (asking) {
      await this.#tell({ ...asking, policy: to });
      asking.policy = to;
    }
    await this.#putOwn(pod, to, asking !== undefined);
    await this.#cluster.markPod(podName(this.#options.serverId, pod.id), policyMarks(to));
    if (!hasOwn(to, asking !== undefined)) await this.#removeOwn(pod.id);
  }

  /** Before the Pod goes: its address may be another one's after that. Idempotent. */
  async dismiss({ id }: Pick<PolicyHolder, 'id'>): Promise<void> {
    const address = this.#asking.get(id)?.pod.address;
    this.#asking.delete(id);
    // One that went by itself may have left it to another long ago.
    const isFree = [...this.#asking.values()].every(({ pod }) => pod.address !== address);
    if (address !== undefined && isFree) await this.#egress.forget(address);
  }

  /** Removes what a Pod had of its own, once it is gone. Idempotent. */
  async forget(pod: Pick<PolicyHolder, 'id'>): Promise<void> {
    await this.dismiss(pod);
    await this.#removeOwn(pod.id);
  }

  /** Another server has it, and its own gateway for it. */
  release(pod: Pick<PolicyHolder, 'id'>): void {
    void this.dismiss(pod);
    this.#own.delete(pod.id);
  }

  async #putOwn(pod: PolicyHolder, policy: NetworkPolicy, asks: boolean): Promise<void> {
    if (!hasOwn(policy, asks)) return;
    this.#own.add(pod.id);
    const cidrs = policy.kind === 'allowlist' ? policy.cidrs : [];
    const through = leadsThrough(policy) ? 'gateway-hosts' : 'gateway-names';
    const own = ownPolicy({ ...this.#options, ...pod }, cidrs, asks ? through : this.#options.nameservers);
    await this.#cluster.putPolicy(own);
  }

  async #removeOwn(id: InstanceId): Promise<void> {
    if (!this.#own.has(id)) return;
    await this.#cluster.removePolicy(podName(this.#options.serverId, id));
    this.#own.delete(id);
  }

  async #openGateway(): Promise<string> {
    this.#opening ??= this.#egress.open(this.#allowed()).catch((error: unknown) => {
      this.#opening = undefined;
      throw error;
    });
    await this.#opening;
    return this.#gatewayAddress;
  }

  #allowed(): Map<string, Allowed> {
    return new Map(
      [...this.#asking.values()].map(({ pod, policy }) => [pod.address, this.#allowedBy(policy)]),
    );
  }

  /** What the gateway lets through of one that asks it for names. Who is not kept to domains is told of all, and reaches most by itself. */
  #allowedBy(policy: NetworkPolicy): Allowed {
    const through = allowedBy(policy, (sealed) => this.#headers.open(sealed));
    const knowsAllNames = policy.kind !== 'blocked' && domainsOf(policy).length === 0;
    if (!through) return { domains: [], knowsAllNames, audited: false };
    return { ...through, knowsAllNames, ranges: policy.kind === 'allowlist' ? policy.cidrs : [ALL] };
  }

  get #headers(): NonNullable<PodNetworkOptions['headers']> {
    const { headers } = this.#options;
    if (!headers) throw new SkerryError('internal', 'A policy has headers that nobody can open.');
    return headers;
  }

  #tell({ pod, policy }: Asking): Promise<void> {
    return this.#egress.allow(pod.address, this.#allowedBy(policy));
  }

  /** Has the gateway there for sandboxes that ask it. */
  async #goOn(): Promise<void> {
    const { signal } = this.#closing;
    while (!signal.aborted) {
      try {
        await this.#openGateway();
        for (const asking of [...this.#asking.values()]) await this.#tell(asking);
        return this.#moved(this.#gatewayAddress);
      } catch (err) {
        if (!signal.aborted) this.#options.logger.warn({ err }, 'egress.not-there');
      }
      await delay(PAUSE_MS, signal).catch(() => {}); // closed
    }
  }

  #moved(address: string): void {
    this.#gatewayAddress = address;
    for (const asking of this.#asking.values()) if (asking.gateway !== address) void this.#leadAtLast(asking);
  }

  /** Tells one where the gateway is now, as long as it is somebody's. */
  async #leadAtLast(asking: Asking): Promise<void> {
    const { signal } = this.#closing;
    const { id } = asking.pod;
    while (!signal.aborted && this.#asking.get(id) === asking && asking.gateway !== this.#gatewayAddress) {
      try {
        return await this.#lead(asking);
      } catch (err) {
        this.#options.logger.warn({ err, instance: id }, 'egress.not-told');
      }
      await delay(PAUSE_MS, signal).catch(() => {}); // closed
    }
  }

  async #lead(asking: Asking): Promise<void> {
    const gateway = this.#gatewayAddress;
    await this.#setNameserver(asking.pod, gateway);
    asking.gateway = gateway;
  }

  async #setNameserver(pod: NetworkedPod, gateway: string): Promise<void> {
    await pod.askForNames(gateway);
    await this.#cluster.markPod(podName(this.#options.serverId, pod.id), gatewayMark(gateway));
  }
}

/** What a policy has that a cluster cannot do. @throws SkerryError `unimplemented` */
export function requireEnforceable(policy: NetworkPolicy): void {
  if (policy.audited) throw unable('have its connections recorded');
}

/** Whether hosts are reached through the gateway. */
const leadsThrough = (policy: NetworkPolicy): boolean =>
  policy.kind !== 'blocked' && (domainsOf(policy).length > 0 || policy.headers !== undefined);

/** Whether a Pod needs a policy beside those that stand. */
const hasOwn = (policy: NetworkPolicy, asks: boolean): boolean =>
  policy.kind === 'allowlist' || (asks && policy.kind === 'open');
