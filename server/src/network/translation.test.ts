import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { run } from '../platform/command.ts';
import { CONSTANT } from './inside.ts';
import { Lab } from './testing/lab.ts';

const HOST = fileURLToPath(new URL('testing/translated-host.ts', import.meta.url));

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
    const unique = `skerry-test-${process.pid}`;
    const [host, router, far] = [`${unique}-h`, `${unique}-r`, `${unique}-f`];
    const lab = await Lab.open(t, [host, router, far]);
    await lab.ip([
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
    ]);
    const forward = 'echo 1 > /proc/sys/net/ipv4/ip_forward';
    await run(['ip', 'netns', 'exec', router, 'sh', '-c', forward]);
    const printed = await lab.play(HOST, [lab.directory, far, FAR, CLOSED]);
    const own = { address: '10.250.0.15', gateway: '10.250.0.14', resolver: '10.250.0.1' };
    assert.deepEqual(printed, {
      first: { ...EVERYTHING, inside: CONSTANT },
      second: { ...EVERYTHING, inside: CONSTANT },
      earlier: { ...EVERYTHING, inside: own },
    });
  });
});
