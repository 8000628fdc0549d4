/** Sandboxes of a cluster that may reach domains: whom they ask for names, what they are told, and what becomes of it when the gateway or the server is lost. */
import assert from 'node:assert/strict';
import type { Socket } from 'node:dgram';
import { Resolver } from 'node:dns/promises';
import { after, before, describe, it } from 'node:test';
import type { NetworkPolicy } from '../../network/policy.ts';
import type { SecretHeaders } from '../../network/secret-headers.ts';
import { delay } from '../../platform/wait.ts';
import { makeAuthority, type Pair } from '../../transport/issue-certificate.ts';
import type { Instance } from '../engine.ts';
import { GUEST_CA_BUNDLE } from '../paths.ts';
import { EngineSuite, limits, signal } from '../testing/engine-suite.ts';
import { shell } from '../testing/guest.ts';
import { gatewayOf, instanceOf, podName } from './pod-spec.ts';
import type { FakeCluster } from './testing/fake-cluster.ts';
import { openOnFakeCluster } from './testing/fake-cluster-harness.ts';
import { serveNames } from './testing/name-server.ts';

/** Of this machine, as those of Pods of this cluster are, and nobody else's: the test may run more than once at a time. */
const NAMESERVER = `127.1.${(process.pid >> 8) & 0xff}.${process.pid & 0xff}`;
const [GOOD, EVIL, LISTED] = ['198.51.100.7', '198.51.100.8', '192.0.2.7'];
const NAMES: Readonly<Record<string, string>> = {
  'good.test': GOOD,
  'evil.test': EVIL,
  'listed.good.test': LISTED,
};
const DAY_MS = 86_400_000;
const DOMAINS = {
  kind: 'allowlist',
  cidrs: [`${LISTED}/32`],
  domains: ['good.test', '*.good.test'],
} as const satisfies NetworkPolicy;

describe('domains of sandboxes that are Pods', {
  skip: process.getuid?.() === 0 ? false : 'needs root',
}, () => {
  let suite: EngineSuite;
  let cluster: FakeCluster;
  let names: Socket;
  let authority: Pair;
  before(async () => {
    names = await serveNames(NAMESERVER, NAMES);
    const validity = { notBefore: new Date(0), notAfter: new Date(Date.now() + DAY_MS) };
    authority = await makeAuthority('secret-headers.test', validity, undefined);
    const secretHeaders: SecretHeaders = {
      open: () => [{ domain: 'good.test', headers: { authorization: 'secret' } }],
      authority: async () => authority,
    };
    suite = await EngineSuite.open('runc', async (content) => {
      const opened = await openOnFakeCluster(content, { nameservers: [NAMESERVER], secretHeaders });
      cluster = opened.cluster;
      return opened.harness;
    });
  });
  after(async () => {
    await suite?.[Symbol.asyncDispose]();
    names?.close();
  });

  const podOf = (id: string) => {
    const pod = cluster.pods().find((each) => instanceOf(each) === id);
    assert.ok(pod, `no Pod of ${id}`);
    return pod;
  };
  const policyOf = ({ id }: Pick<Instance, 'id'>) => {
    const { metadata } = podOf(id);
    const serverId = metadata?.labels?.['skerry.dev/server'] ?? '';
    return cluster.policies().find((each) => each.metadata?.name === podName(serverId, id));
  };
  /** As a program of the sandbox is answered, which has its address. */
  async function ask({ id }: Pick<Instance, 'id'>, name: string): Promise<string> {
    const pod = podOf(id);
    const resolver = new Resolver({ timeout: 5000, tries: 2 });
    resolver.setLocalAddress(pod.status?.podIP ?? '');
    resolver.setServers([gatewayOf(pod) ?? NAMESERVER]);
    return resolver.resolve4(name).then(
      (found) => found.join(),
      ({ code }) => String(code),
    );
  }
  const resolvConf = (instance: Instance) => shell(instance, 'cat /etc/resolv.conf');
  const portsOf = (instance: Instance) =>
    policyOf(instance)?.spec?.egress?.map(({ ports }) => ports?.map(({ port }) => port).join(' '));

  it('are told by the gateway, at whose address their hosts are', async () => {
    await suite.using({ network: DOMAINS }, async (instance) => {
      const { spec } = podOf(instance.id);
      const gateway = gatewayOf(podOf(instance.id));
      assert.equal(spec?.dnsPolicy, 'None');
      assert.deepEqual(spec?.dnsConfig?.nameservers, [gateway]);
      assert.equal(await ask(instance, 'good.test'), gateway);
      assert.equal(await ask(instance, 'listed.good.test'), LISTED, 'it reaches that by itself');
      assert.equal(await ask(instance, 'evil.test'), 'ENOTFOUND');
      assert.deepEqual(portsOf(instance), [undefined, '53 53 443 80']);
    });
  });

  it('are of one sandbox alone, and go with it', async () => {
    let address = '';
    await suite.using({ network: DOMAINS }, async (instance) => {
      address = podOf(instance.id).status?.podIP ?? '';
      await suite.using({ network: { ...DOMAINS, domains: ['evil.test'] } }, async (other) => {
        assert.equal(await ask(other, 'good.test'), 'ENOTFOUND');
        assert.notEqual(await ask(other, 'evil.test'), 'ENOTFOUND');
      });
      const resolver = new Resolver({ timeout: 5000, tries: 2 });
      resolver.setServers([gatewayOf(podOf(instance.id)) ?? '']);
      await assert.rejects(resolver.resolve4('good.test'), { code: 'ENOTFOUND' }, 'a stranger was answered');
    });
    await suite.using({ network: DOMAINS }, async (instance) => {
      const resolver = new Resolver({ timeout: 5000, tries: 2 });
      resolver.setLocalAddress(address);
      resolver.setServers([gatewayOf(podOf(instance.id)) ?? '']);
      await assert.rejects(resolver.resolve4('good.test'), { code: 'ENOTFOUND' });
    });
  });

  it('stay those of a sandbox that has the address of one that was lost', async () => {
    const lost = await suite.create({ network: DOMAINS });
    const pod = podOf(lost.id);
    cluster.delete(pod.metadata?.name ?? '');
    await lost.exited;
    cluster.addresses.push(pod.status?.podIP ?? '');
    await suite.using({ network: { ...DOMAINS, domains: ['evil.test'] } }, async (instance) => {
      assert.equal(podOf(instance.id).status?.podIP, pod.status?.podIP);
      await suite.destroy(lost);
      assert.equal(await ask(instance, 'evil.test'), gatewayOf(podOf(instance.id)));
      assert.equal(await ask(instance, 'good.test'), 'ENOTFOUND');
    });
  });

  it('come and go while a sandbox runs, which asks the gateway from then on', async () => {
    await suite.using({}, async (instance) => {
      assert.equal(gatewayOf(podOf(instance.id)), undefined);
      assert.equal(policyOf(instance), undefined);
      await instance.setNetworkPolicy(DOMAINS);
      const gateway = gatewayOf(podOf(instance.id));
      assert.equal(await resolvConf(instance), `nameserver ${gateway}`);
      assert.equal(await ask(instance, 'good.test'), gateway);
      await instance.setNetworkPolicy({ kind: 'open' });
      assert.equal(await ask(instance, 'good.test'), GOOD);
      assert.equal(await ask(instance, 'evil.test'), EVIL);
      assert.deepEqual(portsOf(instance), ['53 53'], 'it has names alone of the gateway');
      await instance.setNetworkPolicy({ kind: 'allowlist', cidrs: [`${EVIL}/32`] });
      assert.equal(await ask(instance, 'evil.test'), EVIL);
      assert.deepEqual(portsOf(instance), [undefined, '53 53']);
      await instance.setNetworkPolicy({ kind: 'blocked' });
      assert.equal(await ask(instance, 'good.test'), 'ENOTFOUND');
      assert.equal(policyOf(instance), undefined);
      await instance.setNetworkPolicy({ ...DOMAINS, domains: ['evil.test'] });
      assert.equal(await ask(instance, 'good.test'), 'ENOTFOUND');
      assert.equal(await ask(instance, 'evil.test'), gateway);
    });
    assert.deepEqual(await suite.harness.traces(), []);
    const left = cluster.policies().filter(({ metadata }) => metadata?.ownerReferences);
    assert.deepEqual(left, []);
  });

  it('are given to one that waited', async () => {
    const expects = { hostname: 'sandbox', limits, network: { kind: 'open' } } as const;
    await suite.using({ expects, network: DOMAINS }, async (instance) => {
      const gateway = gatewayOf(podOf(instance.id));
      assert.equal(await resolvConf(instance), `nameserver ${gateway}`);
      assert.equal(await ask(instance, 'good.test'), gateway);
    });
  });

  it('lead through the gateway where a sandbox has secret headers, whose authority it trusts', async () => {
    const trusted = (instance: Instance) => shell(instance, `cat ${GUEST_CA_BUNDLE}`);
    await suite.using({ network: { kind: 'open', headers: 'sealed' } }, async (instance) => {
      const gateway = gatewayOf(podOf(instance.id));
      assert.ok((await trusted(instance)).includes(authority.cert.trim()));
      assert.equal(await ask(instance, 'good.test'), gateway);
      assert.equal(await ask(instance, 'evil.test'), EVIL, 'it has no headers for that');
      assert.deepEqual(portsOf(instance), ['53 53 443 80']);
      await instance.setNetworkPolicy({ kind: 'allowlist', cidrs: [`${GOOD}/32`], headers: 'sealed' });
      assert.equal(await ask(instance, 'good.test'), gateway);
      await instance.setNetworkPolicy({ kind: 'blocked', headers: 'sealed' });
      assert.equal(await ask(instance, 'good.test'), 'ENOTFOUND');
    });
    await suite.using({ network: DOMAINS }, async (instance) => {
      await assert.rejects(trusted(instance));
    });
  });

  it('hold under the next server, which goes on with the same gateway', async () => {
    const instance = await suite.create({ network: DOMAINS });
    const gateway = gatewayOf(podOf(instance.id));
    await suite.harness.restart();
    const { instances } = await suite.harness.engine.adopt(new Set([instance.id]));
    const again = instances.get(instance.id);
    assert.ok(again);
    assert.equal(await ask(again, 'good.test'), gateway);
    assert.equal(await ask(again, 'evil.test'), 'ENOTFOUND');
    await again.setNetworkPolicy({ ...DOMAINS, domains: ['evil.test'] });
    assert.equal(await ask(again, 'evil.test'), gateway);
    assert.equal(gatewayOf(podOf(instance.id)), gateway);
    await suite.destroy(again);
    assert.deepEqual(await suite.harness.traces(), []);
  });

  it('are told by another gateway where the first one is lost', async () => {
    await suite.using({ network: DOMAINS }, async (instance) => {
      const lost = gatewayOf(podOf(instance.id));
      const pod = cluster.pods().find(({ status }) => status?.podIP === lost);
      cluster.delete(pod?.metadata?.name ?? '');
      const deadline = signal();
      while (gatewayOf(podOf(instance.id)) === lost) await delay(20, deadline);
      const gateway = gatewayOf(podOf(instance.id));
      assert.equal(await resolvConf(instance), `nameserver ${gateway}`);
      assert.equal(await ask(instance, 'good.test'), gateway);
      assert.equal(await ask(instance, 'evil.test'), 'ENOTFOUND');
    });
  });

  it('leave no gateway where all of a server is removed', async () => {
    await suite.using({ network: DOMAINS }, async () => {});
    const { engine } = suite.harness;
    await engine.close();
    await engine.remove();
    assert.deepEqual(cluster.pods(), []);
    assert.deepEqual(cluster.secrets(), []);
    assert.deepEqual(cluster.policies(), []);
    await suite.harness.restart();
  });
});
