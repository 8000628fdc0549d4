/** What callers say of a sandbox that is to be made, in the domain's words. */
import type { z } from 'zod';
import { domainPattern } from '../../platform/domain-patterns.ts';
import type { ProvisionVolume } from '../../sandboxes/provisioner.ts';
import type { NetworkPolicy, OpenPort, SecretHeaderSpec } from '../../sandboxes/spec.ts';
import type { sandboxShape } from './fields.ts';

type Field<Name extends keyof typeof sandboxShape> = z.output<(typeof sandboxShape)[Name]>;

export const volumeRequests = (volumes: Field<'volumes'>): readonly ProvisionVolume[] =>
  Object.entries(volumes).map(([target, volume]) => {
    const { name, readOnly = false, subPath = '' } = typeof volume === 'string' ? { name: volume } : volume;
    return { target, name, readOnly, subPath };
  });

export const openPorts = (ports: Field<'ports'>): readonly OpenPort[] =>
  ports.map((each) => {
    const { port, http2 = false, plain = false } = typeof each === 'number' ? { port: each } : each;
    return { port, h2: http2, plain };
  });

/** Nothing in a value stands for something else here. */
export const secretHeaderSpecs = (
  secretHeaders: NonNullable<Field<'secretHeaders'>>,
): readonly SecretHeaderSpec[] =>
  secretHeaders.map(({ domain, headers }) => ({
    domain,
    headers: Object.fromEntries(
      Object.entries(headers).map(([name, value]) => [name, value.replaceAll('$', '$$$$')]),
    ),
  }));

export function networkPolicy(network: Field<'network'>): NetworkPolicy {
  if (typeof network === 'string') return { kind: network };
  const audited = network.audit && { audited: true };
  if ('access' in network) return { kind: network.access, ...audited };
  const domains = network.domains.map((domain) => domainPattern(domain) ?? domain);
  return { kind: 'allowlist', cidrs: [], domains, ...audited };
}
