import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Cleanup } from '../platform/cleanup.ts';
import { run } from '../platform/command.ts';
import { CONSTANT } from './inside.ts';
import { cleanUpAfter } from './testing/broken-off.ts';

const HOST = fileURLToPath(new URL('testing/translated-host.ts', import.meta.url));

/** Much is tried in it, one thing after the other. */
const TIMEOUT_MS = 5 * 60_000;

/** Documentation addresses (RFC 5737) are nobody's own. A private one is closed to sandboxes. */
const NEAR = '198.51.100.1';
const ROUTER = '198.51.100.2';
const FAR = '203.0.113.2';
const CLOSED = '172.31.250.9';

/** What works for every sandbox, whatever addresses it sees. */
const EVERYTHING = {
  datagram: 100,
  fragments: 4000,
  stream: 2_000_000, // arrives only if the router's "fragmentation needed" is understood
  unreachable: 'ECONNREFUSED',
  refused: 'ECONNREFUSED',
  prohibited: 'EHOSTUNREACH',
  question: 100,
  questionOverTcp: 100,
  toMachine: 'ECONNREFUSED',
  inbound: true,
};

describe('addresses of sandboxes', { skip: process.getuid?.() === 0 ? false : 'needs root' }, () => {
  it('are the same in each, and translated outside; a sandbox of an earlier version keeps its own', async (t) => {
    const cleanup = new Cleanup();
    t.after(() => cleanup.run());
    const directory = await mkdtemp(join(tmpdir(), 'skerry-network-'));
    cleanup.add('directory', () => rm(directory, { recursive: true, force: true }));
    const unique = `skerry-test-${process.pid}`;
    const [host, router, far] = [`${unique}-h`, `${unique}-r`, `${unique}-f`] as const;
    for (const name of [host, router, far]) {
      await run(['ip', 'netns', 'add', name]);
      cleanup.add('namespace', () => run(['ip', 'netns', 'del', name]));
    }
    await cleanUpAfter(cleanup, host, directory);
    const lines = [
      `link add uplink netns ${host} type veth peer name near netns ${router}`,
      `link add far mtu 1300 netns ${router} type veth peer name uplink mtu 1300 netns ${far}`,
      `-n ${host} addr add ${NEAR}/24 dev uplink`,
      `-n ${router} addr add ${ROUTER}/24 dev near`,
      `-n ${router} addr add 203.0.113.1/24 dev far`,
      `-n ${far} addr add ${FAR}/24 dev uplink`,
      `-n ${host} link set uplink up`,
      `-n ${router} link set near up`,
      `-n ${router} link set far up`,
      `-n ${far} link set uplink up`,
      ...[host, router, far].map((name) => `-n ${name} link set lo up`),
      `-n ${host} route add default via ${ROUTER}`,
      `-n ${far} route add default via 203.0.113.1`,
    ];
    for (const line of lines) await run(['ip', ...line.split(' ')]);
    const forward = 'echo 1 > /proc/sys/net/ipv4/ip_forward';
    await run(['ip', 'netns', 'exec', router, 'sh', '-c', forward]);
    const command = [process.execPath, '--no-warnings', HOST, directory, far, FAR, CLOSED];
    const { stdout } = await run(['ip', 'netns', 'exec', host, ...command], { timeoutMs: TIMEOUT_MS });
    const own = { address: '10.250.0.15', gateway: '10.250.0.14', resolver: '10.250.0.1' };
    assert.deepEqual(JSON.parse(stdout), {
      first: { ...EVERYTHING, inside: CONSTANT },
      second: { ...EVERYTHING, inside: CONSTANT },
      earlier: { ...EVERYTHING, inside: own },
    });
  });
});
