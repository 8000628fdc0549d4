/**
 * What every engine must do that runs code nobody trusts: the part of the conformance suite about limits, the network and the host. An engine that only
 * tests use (`fake-engine.ts`) promises none of it.
 */
import assert from 'node:assert/strict';
import { mkdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { newVolumeMountId } from '../../ids.ts';
import { withDeadline } from '../../platform/wait.ts';
import type { Instance } from '../engine.ts';
import { type EngineHarness, type EngineSuite, limits, type TestSpec } from './engine-suite.ts';
import { runInGuest, shell } from './guest.ts';
import type { Outside } from './outside.ts';
import { reaches, reachesInTime } from './reach.ts';

export interface IsolatingHarness extends EngineHarness {
  /** The machine beyond the sandboxes' network. */
  readonly outside: Outside;
  /** An address of the machine itself on which a TCP server listens. */
  readonly hostAddress: string;
  readonly hostPort: number;
  /** The addresses by which the machine knows the instances that have a network of their own. */
  instanceAddresses(): Promise<readonly string[]>;
  /** Takes the engine's own rules off the machine, as an administrator does who flushes all; undefined where nobody but the engine can. */
  readonly rules?: { drop(): Promise<void>; stand(): Promise<boolean> };
}

/** The cases, to be given to `engineConformance`. */
export function engineIsolation(suite: () => EngineSuite<IsolatingHarness>): void {
  const create = (spec?: Partial<TestSpec>) => suite().create(spec);
  const destroy = (instance: Instance) => suite().destroy(instance);
  const using = <T>(spec: Partial<TestSpec>, use: (instance: Instance) => Promise<T>) =>
    suite().using(spec, use);

  it('keeps the host out of reach of root', async () => {
    await suite().using({}, async (instance) => {
      const attempts = [
        'mount -t tmpfs none /mnt',
        'mknod /dev/disk b 8 0 && cat /dev/disk',
        'echo 1 > /proc/sys/kernel/sysrq',
        'echo c > /proc/sysrq-trigger',
        'unshare -m true',
        'dmesg',
        'ip link set eth0 down',
      ];
      for (const attempt of attempts) {
        const { code } = await runInGuest(instance, ['sh', '-c', `${attempt} 2>/dev/null`]);
        if (!(instance.runtime === 'gvisor' && /^(dmesg|ip|echo)/.test(attempt)))
          assert.notEqual(code, 0, attempt);
      }
    });
  });

  it('has the devices that every program finds, which belong to its root', async () => {
    await using({}, async (instance) => {
      const names = ['null', 'zero', 'full', 'random', 'urandom', 'tty'];
      const list = await shell(instance, `cd /dev; stat -c '%n %F %a %u %g' ${names.join(' ')}`);
      assert.deepEqual(
        list.split('\n'),
        names.map((name) => `${name} character special file 666 0 0`),
      );
      const use =
        'chown 0:0 /dev/null && echo x > /dev/null && head -c 3 /dev/zero | wc -c && head -c 3 /dev/urandom | wc -c';
      assert.equal(await shell(instance, use), '3\n3');
      const links = 'for link in fd stdin ptmx; do readlink /dev/$link; done; test -c /dev/pts/ptmx';
      assert.equal(await shell(instance, links), '/proc/self/fd\n/proc/self/fd/0\npts/ptmx');
    });
  });

  it('has users that nobody else has, where it shares the kernel of the machine, but with one that it joins', async (t) => {
    if (suite().runtime === 'gvisor') return t.skip('it has a kernel of its own');
    const map = async (instance: Instance) => (await shell(instance, 'cat /proc/self/uid_map')).split(/\s+/);
    const [main, other] = [await create(), await create()];
    const sidecar = await create({ joins: main.id });
    try {
      const [inside, outside = '', count] = await map(main);
      assert.deepEqual([inside, count], ['0', '65536']);
      assert.ok(Number(outside) > 65_535);
      assert.notEqual((await map(other))[1], outside);
      assert.deepEqual(await map(sidecar), [inside, outside, count]);
      assert.equal(
        await shell(sidecar, 'touch /mine && chown 65535:7 /mine && stat -c %u:%g /mine'),
        '65535:7',
      );
    } finally {
      for (const instance of [sidecar, main, other]) await destroy(instance);
    }
  });

  it('has them with a volume as well, whose files are theirs, also after a restart', async (t) => {
    if (suite().runtime === 'gvisor') return t.skip('it has a kernel of its own');
    const tree = newVolumeMountId();
    await mkdir(join(suite().directory, tree));
    const mounts = [
      { source: { kind: 'volume', tree, path: '' }, target: '/volume', readOnly: false },
    ] as const;
    const instance = await create({ mounts });
    assert.equal(instance.isolation, 'runc');
    suite().live.delete(instance);
    await suite().harness.restart();
    const adopted = (await suite().harness.engine.adopt(new Set([instance.id]))).instances.get(instance.id);
    assert.ok(adopted);
    assert.equal(adopted.isolation, 'runc');
    assert.equal(await shell(adopted, 'touch /volume/x && chown 7 /volume/x && stat -c %u /volume/x'), '7');
    assert.ok((await stat(join(suite().directory, tree, 'x'))).uid > 65_535);
    await destroy(adopted);
  });

  describe('limits', () => {
    it('kills a program over the memory limit, and says so', async () => {
      const instance = await create();
      try {
        const eaten = runInGuest(instance, [
          'sh',
          '-c',
          'head -c 600m /dev/zero | tail -c 500m | wc -c',
        ]).catch(() => undefined);
        await Promise.race([eaten, instance.exited]);
        const exit = await withDeadline(instance.exited, 1000);
        if (exit) assert.deepEqual(exit, { reason: 'out-of-memory' });
        else assert.ok((await instance.stats()).oomKills > 0);
      } finally {
        await destroy(instance);
      }
    });

    it('bounds processes without harm to others', async () => {
      const neighbour = await create();
      const instance = await create();
      try {
        const bomb = runInGuest(
          instance,
          ['sh', '-c', 'for i in $(seq 600); do sleep 30 >/dev/null 2>&1 & done; echo all'],
          { timeoutMs: 20_000 },
        );
        const outcome = await bomb.catch((error: Error) => ({
          stdout: '',
          code: -1,
          stderr: error.message,
        }));
        assert.ok(!outcome.stdout.includes('all'), 'all 600 processes ran');
        assert.equal(await shell(neighbour, 'echo fine'), 'fine');
      } finally {
        await Promise.all([destroy(instance), destroy(neighbour)]);
      }
    });

    it('holds a waiting instance to the limits it is bound with, if it can be given others', async (t) => {
      if (!suite().capabilities.bindsLate.has('limits')) return t.skip('not claimed');
      const expected = { ...limits, memoryMiB: 2048, pids: 2000 };
      const expects = { hostname: 'sandbox', limits: expected, network: { kind: 'open' } } as const;
      await using({ expects, limits: { ...limits, memoryMiB: 128, pids: 50 } }, async (instance) => {
        const eaten = runInGuest(instance, ['sh', '-c', 'head -c 400m /dev/zero | tail -c 300m | wc -c']);
        assert.notEqual((await eaten).stdout.trim(), String(300 * 2 ** 20));
        assert.ok((await instance.stats()).oomKills > 0);
        const bomb = runInGuest(instance, [
          'sh',
          '-c',
          'for i in $(seq 100); do sleep 30 >/dev/null 2>&1 & done; echo all',
        ]);
        assert.ok(!(await bomb).stdout.includes('all'), 'all 100 processes ran');
      });
    });

    it('bounds CPU', async () => {
      await using({ limits: { ...limits, milliCpu: 200 } }, async (instance) => {
        const before = await instance.stats();
        const start = process.hrtime.bigint();
        await runInGuest(instance, ['timeout', '2', 'sh', '-c', 'while :; do :; done']);
        const wallNs = Number(process.hrtime.bigint() - start);
        const used = (await instance.stats()).cpuUsageNs - before.cpuUsageNs;
        assert.ok(used < wallNs * 0.5, `${used / wallNs} cores were used`);
      });
    });
  });

  describe('network', () => {
    it('open: reaches the internet and the resolver, not the host, private networks or other instances', async () => {
      const { outside, hostAddress, hostPort } = suite().harness;
      const neighbour = await create();
      try {
        await using({}, async (instance) => {
          const before = (await instance.stats()).traffic;
          assert.equal(await reachesInTime(instance, outside.publicAddress, 7), 'yes');
          const after = (await instance.stats()).traffic;
          assert.ok(before && after && after.sentBytes > before.sentBytes);
          assert.ok(after.receivedBytes > before.receivedBytes);
          assert.ok(
            (await shell(instance, 'nslookup example.org')).includes(`Address: ${outside.publicAddress}\n`),
          );
          assert.equal(await reaches(instance, outside.privateAddress, 7), 'no');
          assert.equal(await reaches(instance, hostAddress, hostPort), 'no');
          assert.equal(await reaches(instance, '169.254.169.254', 80), 'no');
          const gateway = await shell(instance, "ip route | sed -n 's/^default via \\([0-9.]*\\).*/\\1/p'");
          assert.equal(await reaches(instance, gateway, hostPort), 'no');
          const seen =
            "ip -4 address show dev eth0 | grep -o 'inet [0-9./]*'; ip route; cat /etc/resolv.conf";
          assert.equal(await shell(instance, seen), await shell(neighbour, seen));
          const named = await shell(neighbour, "sed -n 's/^\\([0-9.]*\\).sandbox$/\\1/p' /etc/hosts");
          assert.ok(named !== '' && (await shell(instance, seen)).includes(`inet ${named}/`));
          const addresses = await suite().harness.instanceAddresses();
          assert.ok(addresses.length >= 2);
          const served = runInGuest(neighbour, ['timeout', '4', 'nc', '-l', '-p', '8000', '-e', 'true']);
          await shell(
            neighbour,
            'until cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | grep -q :1F40; do sleep 0.1; done',
          );
          for (const address of [named, ...addresses]) {
            assert.equal(await reaches(instance, address, 8000), 'no', address);
          }
          assert.notEqual((await served).code, 0, 'the neighbour was reached');
          assert.equal(
            await shell(instance, "cat /proc/net/if_inet6 2>/dev/null | grep -v ' lo$' | wc -l"),
            '0',
          );
        });
      } finally {
        await destroy(neighbour);
      }
    });

    it('is closed, not open, when the rules are taken away from under it, until they are made anew', async (t) => {
      const { outside, hostAddress, hostPort, rules } = suite().harness;
      if (!rules) return t.skip('nobody can');
      await using({}, async (instance) => {
        assert.equal(await reachesInTime(instance, outside.publicAddress, 7), 'yes');
        const gateway = await shell(instance, "ip route | sed -n 's/^default via \\([0-9.]*\\).*/\\1/p'");
        const targets = [
          [outside.publicAddress, 7],
          [outside.privateAddress, 7],
          [hostAddress, hostPort],
          [gateway, hostPort],
        ] as const;
        for (let tries = 1; ; tries++) {
          await rules.drop();
          const reached = await Promise.all(
            targets.map(([address, port]) => reaches(instance, address, port)),
          );
          // The engine may have looked, and made them anew, while this was tried.
          if (reached.includes('yes') && tries < 5 && (await rules.stand())) continue;
          assert.deepEqual(reached, ['no', 'no', 'no', 'no']);
          break;
        }
        await instance.setNetworkPolicy({ kind: 'open' });
        assert.equal(await reachesInTime(instance, outside.publicAddress, 7), 'yes');
        assert.equal(await reaches(instance, gateway, hostPort), 'no');
      });
    });

    it('holds a waiting instance to the policy it is bound with, if it can be given another', async (t) => {
      if (!suite().capabilities.bindsLate.has('network')) return t.skip('not claimed');
      const { outside } = suite().harness;
      const expects = { hostname: 'sandbox', limits, network: { kind: 'open' } } as const;
      await using({ expects, network: { kind: 'blocked' } }, async (instance) => {
        assert.equal(await reaches(instance, outside.publicAddress, 7), 'no');
      });
      const closed = { ...expects, network: { kind: 'blocked' } } as const;
      await using({ expects: closed, network: { kind: 'open' } }, async (instance) => {
        assert.equal(await reachesInTime(instance, outside.publicAddress, 7), 'yes');
      });
    });

    it('blocked: reaches nothing, not even the resolver', async () => {
      await using({ network: { kind: 'blocked' } }, async (instance) => {
        assert.equal(await reaches(instance, suite().harness.outside.publicAddress, 7), 'no');
        assert.notEqual((await runInGuest(instance, ['timeout', '8', 'nslookup', 'example.org'])).code, 0);
        assert.equal(
          await shell(instance, 'nc -l -p 80 -e true & sleep 0.2; echo | nc -w 2 127.0.0.1 80 && echo yes'),
          'yes',
        );
      });
    });

    it('allowlist: reaches what is listed and the resolver; a listed private network stays closed', async () => {
      const { publicAddress, privateAddress } = suite().harness.outside;
      const network = { kind: 'allowlist', cidrs: [`${publicAddress}/32`, '172.31.254.0/24'] } as const;
      await using({ network }, async (instance) => {
        assert.equal(await reachesInTime(instance, publicAddress, 7), 'yes');
        assert.ok((await shell(instance, 'nslookup example.org')).includes(`Address: ${publicAddress}\n`));
        assert.equal(await reaches(instance, privateAddress, 7), 'no');
      });
      await using({ network: { kind: 'allowlist', cidrs: ['192.0.2.99/32'] } }, async (instance) => {
        assert.equal(await reaches(instance, publicAddress, 7), 'no');
      });
    });

    it('allowlist of domains: reaches them by name, and nothing else by any', async () => {
      const { publicAddress } = suite().harness.outside;
      // busybox's own ways to ask for a name inside of nc and wget do not work in a static program.
      const get = (address: string, host: string) =>
        `a=${address}; [ "$a" ] && printf 'GET / HTTP/1.0\\r\\nHost: ${host}\\r\\n\\r\\n' | nc -w 20 $a 80 | tail -n 1 | grep -x '[a-z.]*' || echo no`;
      const asks = [
        ...['allowed.test', 'x.below.test', 'other.test'].map((host) =>
          get(`$(nslookup -type=a ${host} 2>/dev/null | sed -n 's/^Address: //p')`, host),
        ),
        get(publicAddress, 'other.test'),
      ];
      const ask = (instance: Instance) => shell(instance, asks.join('; '));
      const network = { kind: 'allowlist', cidrs: [], domains: ['allowed.test', '*.below.test'] } as const;
      await using({ network }, async (instance) => {
        assert.equal(await ask(instance), 'allowed.test\nx.below.test\nno\nno');
        assert.equal(await reaches(instance, publicAddress, 7), 'no');
        await instance.setNetworkPolicy({ ...network, cidrs: [`${publicAddress}/32`] });
        assert.equal(await reachesInTime(instance, publicAddress, 7), 'yes');
        await instance.setNetworkPolicy({ ...network, domains: ['other.test'] });
        assert.equal(await ask(instance), 'no\nno\nother.test\nother.test');
        await instance.setNetworkPolicy({ kind: 'open' });
        assert.equal(await ask(instance), 'allowed.test\nx.below.test\nother.test\nother.test');
      });
    });

    it('a changed policy opens, closes and cuts connections that exist', async () => {
      const { publicAddress } = suite().harness.outside;
      await using({}, async (instance) => {
        const flowing = Promise.withResolvers<void>();
        const talk = `(while sleep 0.1; do echo x; done) | nc ${publicAddress} 7`;
        const conversation = runInGuest(instance, ['sh', '-c', talk], {
          onStdout: () => flowing.resolve(),
        });
        conversation.catch(flowing.reject);
        await flowing.promise;
        await instance.setNetworkPolicy({ kind: 'blocked' });
        await conversation; // ends only because the connection does
        assert.equal(await reaches(instance, publicAddress, 7), 'no');
        await instance.setNetworkPolicy({ kind: 'allowlist', cidrs: [publicAddress] });
        assert.equal(await reachesInTime(instance, publicAddress, 7), 'yes');
        await instance.setNetworkPolicy({ kind: 'open' });
        assert.equal(await reachesInTime(instance, publicAddress, 7), 'yes');
      });
    });
  });

  it('can be taken away after the other ran out of memory, which gVisor does not survive', async () => {
    const traces = await suite().harness.traces();
    const main = await create();
    const sidecar = await create({ joins: main.id });
    const eat = ['sh', '-c', 'head -c 600m /dev/zero | tail -c 500m | wc -c'];
    await Promise.race([runInGuest(main, eat).catch(() => undefined), main.exited]);
    if (await withDeadline(main.exited, 1000)) await sidecar.exited;
    else assert.equal(await shell(sidecar, 'echo fine'), 'fine');
    await destroy(sidecar);
    await destroy(main);
    assert.deepEqual(await suite().harness.traces(), traces);
  });

  it('a joined one has the network policy of the first, which a change and a restart keep for both', async () => {
    const { publicAddress } = suite().harness.outside;
    const main = await create({ network: { kind: 'blocked' } });
    const sidecar = await create({ joins: main.id });
    assert.equal(await reaches(sidecar, publicAddress, 7), 'no');
    await suite().harness.restart();
    for (const instance of [main, sidecar]) suite().live.delete(instance);
    const { instances: adopted } = await suite().harness.engine.adopt(new Set([main.id, sidecar.id]));
    const [again, sidecarAgain] = [adopted.get(main.id), adopted.get(sidecar.id)];
    assert.ok(again && sidecarAgain);
    try {
      assert.equal(await reaches(again, publicAddress, 7), 'no');
      await again.setNetworkPolicy({ kind: 'open' });
      assert.equal(await reachesInTime(again, publicAddress, 7), 'yes');
      assert.equal(await reachesInTime(sidecarAgain, publicAddress, 7), 'yes');
    } finally {
      await destroy(again);
    }
  });
}
