/** What is told of audited sandboxes, whatever their policy: on a machine of the test's own, beside another one that plays the internet. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { Plan } from './testing/audited-host.ts';
import { Lab } from './testing/lab.ts';

const HOST = fileURLToPath(new URL('testing/audited-host.ts', import.meta.url));

/** Documentation addresses (RFC 5737), all of them the internet's but the first, which is the machine's own. */
const MACHINE = '198.51.100.1';
const INTERNET = '198.51.100.2';
const GOOD = '203.0.113.10';
const LISTED = '203.0.113.40';
const PRIVATE = '172.31.250.9';

const PLAN: Plan = {
  nameserver: INTERNET,
  internet: { names: { 'good.test': GOOD }, secure: [GOOD, LISTED, PRIVATE], plain: [] },
  attempts: {
    named: { kind: 'tls', host: 'good.test' },
    listed: { kind: 'tls', address: LISTED },
    other: { kind: 'tcp', address: GOOD, port: 22, say: 'x' },
    datagram: { kind: 'udp', address: INTERNET, port: 443 },
    private: { kind: 'tls', address: PRIVATE },
    privateDatagram: { kind: 'udp', address: PRIVATE, port: 53 },
    machine: { kind: 'tcp', address: MACHINE, port: 8000, say: 'x' },
  },
  policies: {
    open: { kind: 'open' },
    listed: { kind: 'allowlist', cidrs: [`${LISTED}/32`] },
    both: { kind: 'allowlist', cidrs: [`${LISTED}/32`], domains: ['good.test'] },
    blocked: { kind: 'blocked' },
  },
  flood: { address: PRIVATE, ports: 600 },
};

const CLOSED = [
  `Network: refused tcp ${MACHINE}:8000.`,
  `Network: refused tcp ${PRIVATE}:443.`,
  `Network: refused udp ${PRIVATE}:53.`,
];
const RESOLVER = 'udp the resolver at 169.254.77.1:53';
const allowed = (...places: readonly string[]) =>
  places.flatMap((place) => [`Network: allowed ${place}.`, `Network: ended ${place}, bytes.`]);

test('what audited sandboxes reach and try to is told, by whatever protocol', {
  skip: process.getuid?.() === 0 ? false : 'needs root',
}, async (t) => {
  const unique = `skerry-audit-${process.pid}`;
  const [host, internet] = [`${unique}-h`, `${unique}-i`];
  const lab = await Lab.open(t, [host, internet]);
  await lab.connect(internet, [MACHINE, INTERNET], [GOOD, LISTED, PRIVATE]);
  const told = (await lab.play(HOST, [lab.directory, internet, JSON.stringify(PLAN)])) as Record<
    string,
    unknown
  >; // what the program prints

  const cases: Readonly<Record<string, readonly [string, unknown]>> = {
    notAudited: ['nobody pays for who is not audited', [[], [], 0]],
    open: [
      'an open network',
      [
        ...allowed(
          `tcp good.test at ${GOOD}:22`,
          `tcp good.test at ${GOOD}:443`,
          `tcp ${LISTED}:443`,
          `udp ${INTERNET}:443`,
          RESOLVER,
        ),
        ...CLOSED,
      ].sort(),
    ],
    listed: [
      'ranges of addresses',
      [
        ...allowed(`tcp ${LISTED}:443`, RESOLVER),
        ...CLOSED,
        `Network: refused tcp good.test at ${GOOD}:22.`,
        `Network: refused tcp good.test at ${GOOD}:443.`,
        `Network: refused udp ${INTERNET}:443.`,
      ].sort(),
    ],
    both: [
      'ranges beside domains, of which the proxy tells',
      [
        ...allowed(`tcp ${LISTED}:443`, `tls good.test at ${GOOD}:443`),
        `Network: refused tcp ${GOOD}:22.`,
        `Network: refused tcp ${MACHINE}:8000.`,
        'Network: refused tls: it does not clearly say which host it is for.',
        `Network: refused udp ${INTERNET}:443.`,
        `Network: refused udp ${PRIVATE}:53.`,
      ].sort(),
    ],
    blocked: [
      'no network',
      [
        ...CLOSED,
        `Network: refused tcp ${GOOD}:22.`,
        `Network: refused tcp ${LISTED}:443.`,
        `Network: refused udp ${INTERNET}:443.`,
        `Network: refused ${RESOLVER}.`,
      ].sort(),
    ],
    first: [
      'what begins, at once',
      [`Network: allowed tcp good.test at ${GOOD}:443.`, `Network: allowed ${RESOLVER}.`],
    ],
    toTheEnd: ['what goes on, by the next server', allowed(`tcp good.test at ${GOOD}:443`, RESOLVER).sort()],
    nothingMore: ['everything once', []],
    flood: [
      'a flood, in two lines',
      [
        'Network: 88 more packets, to places for which there was no room.',
        `Network: refused udp ${PRIVATE}, 512 ports.`,
      ],
    ],
    afterAFlush: [
      'what comes after the rules were flushed',
      allowed(`tcp good.test at ${GOOD}:443`, RESOLVER).sort(),
    ],
    after: ['the table stays for the next', 1],
    left: ['nothing is left', false],
  };
  for (const [name, [what, expected]] of Object.entries(cases)) {
    await t.test(what, () => assert.deepEqual(told[name], expected));
  }
});
