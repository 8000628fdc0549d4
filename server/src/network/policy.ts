/** What may be reached from a sandbox: the ranges that are closed to all, and checked policies. */
import { z } from 'zod';
import { SkerryError } from '../errors/skerry-error.ts';
import { domainPattern } from '../platform/domain-patterns.ts';
import { type Cidr, parseCidr, withoutOverlaps } from './cidr.ts';

/** Headers that are put into what is sent to certain hosts (`secret-headers.ts`): present where a sandbox was made with some, sealed. */
const headers = z.string().optional();
/** It is kept what the sandbox does (`Instance.networkEvents`). */
const audited = z.boolean().optional();

/** A policy as it is written down. */
export const networkPolicySchema = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('open'), audited, headers }),
  z.object({ kind: z.literal('blocked'), audited, headers }),
  /**
   * Only these CIDRs (IPv4) may be reached, and DNS still answers; or, where there are domains, these too by TLS and HTTP, and DNS answers for them alone.
   * A domain is a pattern (`platform/domain-patterns.ts`).
   */
  z.object({
    kind: z.literal('allowlist'),
    cidrs: z.array(z.string()).readonly(),
    domains: z.array(z.string()).readonly().optional(),
    audited,
    headers,
  }),
]);

/** What may be reached from a sandbox. Addresses of the host, of other sandboxes and of private networks stay closed in each. */
export type NetworkPolicy = Readonly<z.infer<typeof networkPolicySchema>>;

/** CIDRs one sandbox may list, each of which is an element of a kernel set, and domains. */
export const MAX_ALLOWLIST = 1000;

/**
 * Never reachable unless the operator allows it (`allowPrivate`), whatever a sandbox's creator asks for: RFC 6890's special-purpose networks
 * that can be somebody's own. The documentation networks (RFC 5737) are left out: they belong to nobody.
 */
export const closedNetworks: readonly Cidr[] = [
  '0.0.0.0/8', // this network
  '10.0.0.0/8', // private
  '100.64.0.0/10', // carrier-grade NAT, also used by clouds and VPNs for internal services
  '127.0.0.0/8', // loopback
  '169.254.0.0/16', // link-local, cloud metadata
  '172.16.0.0/12', // private
  '192.0.0.0/24', // IETF protocol assignments (metadata on some clouds)
  '192.168.0.0/16', // private
  '198.18.0.0/15', // benchmarking, used as private space
  '224.0.0.0/4', // multicast
  '240.0.0.0/4', // reserved and broadcast
].map(parseCidr);

/** @throws SkerryError `invalid-argument` for what is no policy that rules can be made of */
export function checkPolicy(policy: NetworkPolicy): void {
  if (policy.kind === 'allowlist') {
    parseAllowlist(policy.cidrs);
  }
  const domains = domainsOf(policy);
  if (domains.length > MAX_ALLOWLIST) {
    const words = `At most ${MAX_ALLOWLIST} domains can be allowed, not ${domains.length}.`;
    throw new SkerryError('invalid-argument', words);
  }
  for (const domain of domains) {
    if (domainPattern(domain) !== domain)
      throw new SkerryError('invalid-argument', `Invalid domain: ${domain}`);
  }
}

/** Whether it is kept what a sandbox does. */
export const isAudited = (policy: NetworkPolicy): boolean => policy.audited === true;

/** Whether it is the policy that a network is made with: all that is public may be reached. */
export const isPlainlyOpen = ({ kind, headers, audited }: NetworkPolicy): boolean =>
  kind === 'open' && headers === undefined && audited !== true;

/** Which domains may be reached by their names; none where addresses alone decide. */
export const domainsOf = (policy: NetworkPolicy): readonly string[] =>
  policy.kind === 'allowlist' ? (policy.domains ?? []) : [];

/** @throws SkerryError `invalid-argument` for a malformed or too long list. */
export function parseAllowlist(cidrs: readonly string[]): Cidr[] {
  if (cidrs.length > MAX_ALLOWLIST) {
    throw new SkerryError(
      'invalid-argument',
      `At most ${MAX_ALLOWLIST} CIDRs can be allowed, not ${cidrs.length}.`,
    );
  }
  return withoutOverlaps(cidrs.map(parseCidr));
}
