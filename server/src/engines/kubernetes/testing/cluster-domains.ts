/** Domains that Pods may reach, on a real cluster whose network goes by policies: `npm run test:kubernetes` makes it. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { delay } from '../../../platform/wait.ts';
import type { Instance } from '../../engine.ts';
import { EngineSuite, GROUP_TIMEOUT_MS, limits, signal } from '../../testing/engine-suite.ts';
import { shell } from '../../testing/guest.ts';
import { reaches } from '../../testing/reach.ts';
import { noCluster, openOnCluster, registry, runtime } from './cluster-harness.ts';
import { type PublicHosts, serveHosts } from './public-server.ts';

const [MACHINE = ''] = registry.split(':');
const DOMAINS = { kind: 'allowlist', cidrs: [] as string[], domains: ['good.test', '*.below.test'] } as const;

/** The address that a name has there, if it has one. `nslookup` looks for itself: what else there is of busybox resolves nothing when it is linked statically. */
const FIND = "sed -n '/^Name:/,$ s/^Address: *//p' | head -n 1";

/** What the host of that name answers by HTTP, or that there is none. @param at where to ask for it; where its name leads by default */
const fetched = (
  instance: Instance,
  host: string,
  at = `$(nslookup -type=a ${host} | ${FIND})`,
): Promise<string> =>
  shell(
    instance,
    `at=${at}; said=$([ -n "$at" ] && printf 'GET / HTTP/1.1\\r\\nHost: ${host}\\r\\nConnection: close\\r\\n\\r\\n' |
      nc -w 5 "$at" 80 | tail -n 1); echo "\${said:-none}"`,
  );

/** A network, and a resolver's memory, hear of a change a moment later. */
async function until(isTrue: () => Promise<boolean>): Promise<void> {
  const deadline = signal();
  while (!(await isTrue())) await delay(200, deadline);
}

describe('domains that Pods may reach', { skip: noCluster, timeout: GROUP_TIMEOUT_MS }, () => {
  let suite: EngineSuite;
  let hosts: PublicHosts;
  before(async () => {
    hosts = await serveHosts(MACHINE, ['good.test', 'x.below.test', 'evil.test']);
    suite = await EngineSuite.open(runtime, (content) => openOnCluster(content, [hosts.nameserver]));
  });
  after(async () => {
    await suite?.[Symbol.asyncDispose]();
    await hosts?.[Symbol.asyncDispose]();
  });

  const addressOf = (name: string): string => hosts.addresses[name] ?? '';

  it('are reached by their names, and nothing else is by any way', async () => {
    await suite.using({ network: DOMAINS }, async (instance) => {
      await until(async () => (await fetched(instance, 'good.test')) === 'good.test');
      assert.equal(await fetched(instance, 'x.below.test'), 'x.below.test');
      assert.equal(await fetched(instance, 'evil.test'), 'none');
      for (const name of ['good.test', 'evil.test'])
        for (const port of [80, 443]) assert.equal(await reaches(instance, addressOf(name), port), 'no');
      assert.equal(await reaches(instance, hosts.nameserver, 53), 'no');
      const gateway = await shell(instance, "sed -n 's/^nameserver //p' /etc/resolv.conf");
      assert.match(await fetched(instance, 'good.test', gateway), /good/);
      assert.doesNotMatch(await fetched(instance, 'evil.test', gateway), /^(evil.test|none)$/);
    });
  });

  it('come and go while a sandbox runs', async () => {
    await suite.using({}, async (instance) => {
      await until(async () => (await fetched(instance, 'evil.test')) === 'evil.test');
      await instance.setNetworkPolicy(DOMAINS);
      await until(async () => (await fetched(instance, 'evil.test')) === 'none');
      const byAddress = () => fetched(instance, 'evil.test', addressOf('evil.test'));
      await until(async () => (await byAddress()) === 'none');
      assert.equal(await fetched(instance, 'good.test'), 'good.test');
      await instance.setNetworkPolicy({ ...DOMAINS, cidrs: [`${addressOf('evil.test')}/32`] });
      await until(async () => (await byAddress()) === 'evil.test');
      assert.equal(await fetched(instance, 'evil.test'), 'none', 'it is told no such name');
      await instance.setNetworkPolicy({ kind: 'open' });
      await until(async () => (await fetched(instance, 'evil.test')) === 'evil.test');
      await instance.setNetworkPolicy({ kind: 'blocked' });
      await until(async () => (await fetched(instance, 'good.test')) === 'none');
    });
  });

  it('are those of one that waited, and hold under the next server', async () => {
    const expects = { hostname: 'sandbox', limits, network: { kind: 'open' } } as const;
    await suite.using({ expects, network: DOMAINS }, async (instance) => {
      await until(async () => (await fetched(instance, 'good.test')) === 'good.test');
      await suite.harness.restart();
      const { instances } = await suite.harness.engine.adopt(new Set([instance.id]));
      const again = instances.get(instance.id);
      assert.ok(again);
      await until(async () => (await fetched(again, 'good.test')) === 'good.test');
      assert.equal(await fetched(again, 'evil.test'), 'none');
    });
  });
});
