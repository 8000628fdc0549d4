import assert from 'node:assert/strict';
import { readdir } from 'node:fs/promises';
import { after, before, describe, it } from 'node:test';
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

describe('the host', { skip: ready ? false : 'needs root, ip and iptables' }, () => {
  before(() => run(['ip', 'netns', 'add', namespace]));
  after(() => run(['ip', 'netns', 'del', namespace]));

  it('keeps its firewall as it is when that lets everything pass; else our packets pass first, and nothing of it stays', async () => {
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

  it('forwards while a server needs it, whatever became of the rules, and then as before', async () => {
    const forwards = async () =>
      (await run(['ip', 'netns', 'exec', namespace, 'cat', '/proc/sys/net/ipv4/ip_forward'])).stdout.trim();
    const set = (value: string) =>
      run(['ip', 'netns', 'exec', namespace, 'sysctl', '-qw', `net.ipv4.ip_forward=${value}`]);
    const ours = async () => {
      const inode = /\d+/.exec(
        (await run(['ip', 'netns', 'exec', namespace, 'readlink', '/proc/self/ns/net'])).stdout,
      );
      return (await readdir('/run')).filter((name) => name.includes(`-${inode}`));
    };
    await set('0');
    await inNamespace("await host.enableForwarding('one'); await host.enableForwarding('other')");
    assert.equal(await forwards(), '1');
    await inNamespace("await host.restoreForwarding('other'); await host.restoreForwarding('other')");
    assert.equal(await forwards(), '1');
    await set('0');
    await inNamespace('if (!(await host.keepForwarding())) throw new Error("was on")');
    assert.equal(await forwards(), '1');
    await inNamespace("await host.restoreForwarding('one')");
    assert.equal(await forwards(), '0');
    await set('1');
    await inNamespace("await host.enableForwarding('one'); await host.restoreForwarding('one')");
    assert.equal(await forwards(), '1');
    assert.deepEqual(await ours(), []);
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
