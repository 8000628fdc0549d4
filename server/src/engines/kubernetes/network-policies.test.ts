import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { parse } from 'yaml';
import { newInstanceId } from '../../ids.ts';
import { ownPolicy, standingPolicies } from './network-policies.ts';
import { requireEnforceable } from './pod-network.ts';
import { instanceOf, LINK_PORT, NETWORK_LABEL } from './pod-spec.ts';

const of = { serverId: '0123456789abcdef', member: undefined, namespace: 'sandboxes' };
const nobody: readonly string[] = [];

describe('the NetworkPolicies of a server', () => {
  it('close all sandboxes but to the server, and open those that are to be', () => {
    const [closed, open] = standingPolicies({ ...of, nameservers: ['192.0.2.53'] });
    assert.deepEqual(closed?.spec?.podSelector?.matchLabels, { 'skerry.dev/server': of.serverId });
    assert.deepEqual(closed?.spec?.egress, []);
    assert.deepEqual(closed?.spec?.ingress, [{ ports: [{ protocol: 'TCP', port: 7424 }] }]);
    assert.equal(open?.spec?.podSelector?.matchLabels?.['skerry.dev/network'], 'open');
    const [internet, names] = open?.spec?.egress ?? [];
    const block = internet?.to?.[0]?.ipBlock;
    assert.equal(block?.cidr, '0.0.0.0/0');
    for (const network of ['10.0.0.0/8', '127.0.0.0/8', '169.254.0.0/16', '192.168.0.0/16'])
      assert.ok(block?.except?.includes(network), network);
    assert.deepEqual(names?.to, [{ ipBlock: { cidr: '192.0.2.53/32' } }]);
    assert.deepEqual(
      names?.ports?.map(({ port }) => port),
      [53, 53],
    );
  });
});

describe('the NetworkPolicy of the manifests', () => {
  it('opens no sandbox that has policies of the server', () => {
    const file = new URL('../../../../deploy/kubernetes/network.yaml', import.meta.url);
    const { spec } = parse(readFileSync(file, 'utf8'));
    assert.deepEqual(spec.podSelector, {
      matchExpressions: [{ key: NETWORK_LABEL, operator: 'DoesNotExist' }],
    });
    assert.equal(spec.ingress[0].ports[0].port, LINK_PORT);
  });
});

describe('the NetworkPolicy of a sandbox with a list', () => {
  const listed = (...cidrs: string[]) =>
    ownPolicy({ ...of, id: newInstanceId(), owner: 'a-uid' }, cidrs, nobody);

  it('is for it alone, and goes with its Secret', () => {
    const { metadata, spec } = listed('198.51.100.7');
    const labels = spec?.podSelector?.matchLabels;
    assert.ok(instanceOf({ metadata: { ...(labels && { labels }) } }));
    assert.equal(metadata?.ownerReferences?.[0]?.uid, 'a-uid');
  });

  it('holds for it whichever of several servers has it', () => {
    const policy = ownPolicy({ ...of, member: 'sv-1', id: newInstanceId(), owner: 'a-uid' }, [], nobody);
    assert.equal(policy.metadata?.labels?.['skerry.dev/member'], 'sv-1');
    assert.equal(policy.spec?.podSelector?.matchLabels?.['skerry.dev/member'], undefined);
  });

  it('opens what is listed and is not closed to all', () => {
    const [first, names] = listed('198.51.100.7', '10.1.0.0/16', '172.0.0.0/8').spec?.egress ?? [];
    assert.deepEqual(first?.to, [
      { ipBlock: { cidr: '172.0.0.0/8', except: ['172.16.0.0/12'] } },
      { ipBlock: { cidr: '198.51.100.7/32' } },
    ]);
    assert.equal(names?.to, undefined);
  });

  it('opens nothing but names where all of a list is closed to all, which a rule without addresses would not', () => {
    const egress = listed('10.0.0.0/8').spec?.egress ?? [];
    assert.deepEqual(
      egress.map(({ ports }) => ports?.length),
      [2],
    );
  });

  it('is none for what cannot be said', () => {
    const refused = { code: 'unimplemented' };
    requireEnforceable({ kind: 'allowlist', cidrs: [], domains: ['a.test'] });
    assert.throws(() => requireEnforceable({ kind: 'open', audited: true }), refused);
    requireEnforceable({ kind: 'blocked' });
  });
});
