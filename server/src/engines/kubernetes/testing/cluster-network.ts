/** Network policies of Pods, on a real cluster whose network goes by them: `npm run test:kubernetes` makes it. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { delay } from '../../../platform/wait.ts';
import type { Instance } from '../../engine.ts';
import { EngineSuite, GROUP_TIMEOUT_MS, limits, signal } from '../../testing/engine-suite.ts';
import { runInGuest, shell } from '../../testing/guest.ts';
import { reaches, reachesInTime } from '../../testing/reach.ts';
import { noCluster, openOnCluster, registry, runtime } from './cluster-harness.ts';
import { type PublicServer, servePublicly } from './public-server.ts';

const [MACHINE = '', port] = registry.split(':');
const REGISTRY_PORT = Number(port);

/** A network hears of a change a moment later. */
async function closes(instance: Instance, address: string, at: number): Promise<void> {
  const deadline = signal();
  while ((await reaches(instance, address, at)) === 'yes') await delay(100, deadline);
}

describe('network policies of Pods', { skip: noCluster, timeout: GROUP_TIMEOUT_MS }, () => {
  let suite: EngineSuite;
  let outside: PublicServer;
  before(async () => {
    outside = await servePublicly(MACHINE);
    suite = await EngineSuite.open(runtime, openOnCluster);
  });
  after(async () => {
    await suite?.[Symbol.asyncDispose]();
    await outside?.[Symbol.asyncDispose]();
  });

  it('open: reaches public addresses, not the machine, the cluster or another sandbox', async () => {
    await suite.using({}, async (neighbour) => {
      await suite.using({}, async (instance) => {
        assert.equal(await reachesInTime(instance, outside.address, outside.port), 'yes');
        assert.equal(await reaches(instance, MACHINE, REGISTRY_PORT), 'no');
        const address = await shell(
          neighbour,
          "ip -4 address show dev eth0 | sed -n 's/.*inet \\([0-9.]*\\).*/\\1/p'",
        );
        const listening = runInGuest(neighbour, ['timeout', '8', 'nc', '-l', '-p', '8000', '-e', 'true']);
        await shell(
          neighbour,
          'until cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | grep -q :1F40; do sleep 0.1; done',
        );
        assert.match(address, /^[0-9.]+$/);
        assert.equal(await reaches(instance, address, 8000), 'no');
        assert.notEqual((await listening).code, 0, 'the neighbour was reached');
      });
    });
  });

  it('blocked: reaches nothing', async () => {
    await suite.using({ network: { kind: 'blocked' } }, async (instance) => {
      assert.equal(await reaches(instance, outside.address, outside.port), 'no');
      assert.equal(await reaches(instance, MACHINE, REGISTRY_PORT), 'no');
    });
  });

  it('a list: reaches what is on it, but nothing that is closed to all', async () => {
    const network = { kind: 'allowlist', cidrs: [`${outside.address}/32`, `${MACHINE}/32`] } as const;
    await suite.using({ network }, async (instance) => {
      assert.equal(await reachesInTime(instance, outside.address, outside.port), 'yes');
      assert.equal(await reaches(instance, MACHINE, REGISTRY_PORT), 'no');
    });
    await suite.using({ network: { kind: 'allowlist', cidrs: ['192.0.2.99/32'] } }, async (instance) => {
      assert.equal(await reaches(instance, outside.address, outside.port), 'no');
    });
  });

  it('holds one that waited to what it was bound with', async () => {
    const expects = { hostname: 'sandbox', limits, network: { kind: 'blocked' } } as const;
    await suite.using({ expects, network: { kind: 'blocked' } }, async (instance) =>
      assert.equal(await reaches(instance, outside.address, outside.port), 'no'),
    );
    const network = { kind: 'allowlist', cidrs: [`${outside.address}/32`] } as const;
    await suite.using({ expects, network }, async (instance) =>
      assert.equal(await reachesInTime(instance, outside.address, outside.port), 'yes'),
    );
  });

  it('opens and closes when the policy changes', async () => {
    await suite.using({}, async (instance) => {
      assert.equal(await reachesInTime(instance, outside.address, outside.port), 'yes');
      await instance.setNetworkPolicy({ kind: 'blocked' });
      await closes(instance, outside.address, outside.port);
      await instance.setNetworkPolicy({ kind: 'allowlist', cidrs: [outside.address] });
      assert.equal(await reachesInTime(instance, outside.address, outside.port), 'yes');
      await instance.setNetworkPolicy({ kind: 'open' });
      assert.equal(await reachesInTime(instance, outside.address, outside.port), 'yes');
      assert.equal(await reaches(instance, MACHINE, REGISTRY_PORT), 'no');
    });
  });
});
