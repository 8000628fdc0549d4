import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { run } from '../platform/command.ts';
import { findProgram } from '../platform/find-program.ts';

const namespace = `skerry-test-${process.pid}`;
const ready = process.getuid?.() === 0 && ['ip', 'iptables'].every((name) => findProgram(name));

/** Calls the module in a namespace of its own, so that the machine's firewall stays as it is. */
const inNamespace = (call: string) =>
  run([
    'ip',
    'netns',
    'exec',
    namespace,
    process.execPath,
    '--input-type=module',
    '-e',
    `
      import * as host from ${JSON.stringify(new URL('host-routing.ts', import.meta.url).href)};
      ${call};`,
  ]);
const iptables = async (...args: string[]) =>
  (await run(['ip', 'netns', 'exec', namespace, 'iptables', ...args])).stdout;

describe('host firewall', { skip: ready ? false : 'needs root, ip and iptables' }, () => {
  after(() => run(['ip', 'netns', 'del', namespace]));

  it('is left alone when it lets everything pass; else our packets pass first, and nothing of it stays', async () => {
    await run(['ip', 'netns', 'add', namespace]);
    await inNamespace("await host.passHostFirewall('sk01234567', '10.9.0.1')");
    assert.doesNotMatch(await iptables('-S'), /sk01234567/);

    await iptables('-P', 'FORWARD', 'DROP');
    const before = await iptables('-S');
    await inNamespace("await host.passHostFirewall('sk01234567', '10.9.0.1')");
    await inNamespace("await host.passHostFirewall('sk01234567', '10.9.0.1')");
    const passing = await iptables('-S');
    assert.equal(passing.match(/-A FORWARD -i sk01234567\+ -j ACCEPT/g)?.length, 1);
    assert.match(passing, /-A INPUT -d 10\.9\.0\.1\/32 -i sk01234567\+ -p udp -m udp --dport 53 -j ACCEPT/);
    await inNamespace("await host.leaveHostFirewall('sk01234567', '10.9.0.1')");
    assert.equal(await iptables('-S'), before);
  });

  it("adds the resolver's address once and finds it by its label", async () => {
    const addresses = async () => (await run(['ip', '-n', namespace, '-o', '-4', 'address'])).stdout;
    await inNamespace("await host.addResolverAddress('10.9.0.1', 'sk01234567')");
    await inNamespace("await host.addResolverAddress('10.9.0.1', 'sk01234567')");
    assert.equal((await addresses()).match(/10\.9\.0\.1\/32/g)?.length, 1);
    await inNamespace("await host.removeResolverAddress('sk01234567')");
    await inNamespace("await host.removeResolverAddress('sk01234567')");
    assert.doesNotMatch(await addresses(), /10\.9\.0\.1/);
  });
});
