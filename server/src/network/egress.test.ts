/** What sandboxes reach that may reach domains: on a machine of the test's own, beside another one that plays the internet. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { egressBinaryPath } from '../agent/agent-binary.ts';
import { egressUser, resolverUser } from './host-process.ts';
import type { NetworkPolicy } from './policy.ts';
import { Lab } from './testing/lab.ts';
import type { Plan } from './testing/named-host.ts';
import type { Attempt } from './testing/traveller.ts';

const HOST = fileURLToPath(new URL('testing/named-host.ts', import.meta.url));

/** Documentation addresses (RFC 5737), all of them the internet's but the first, which is the machine's own. */
const MACHINE = '198.51.100.1';
const INTERNET = '198.51.100.2';
const GOOD = '203.0.113.10';
const BELOW = '203.0.113.11';
const EVIL = '203.0.113.20';
const DOH = '203.0.113.30';
const LISTED = '203.0.113.40';
/** Where the port of TLS speaks something else. */
const PLAIN = '203.0.113.50';
const PRIVATE = '172.31.250.9';

const NAMES = {
  'good.test': GOOD,
  'below.test': BELOW,
  'deep.x.below.test': BELOW,
  'evil.test': EVIL,
  'doh.test': DOH,
  'private.good.test': PRIVATE,
  'machine.good.test': MACHINE,
  'loopback.good.test': '127.0.0.1',
  'resolver.good.test': '10.250.0.1',
  'neighbour.good.test': '10.250.0.3',
};

const get = (host: string, path: string, more = '') => `GET ${path} HTTP/1.1\r\nHost: ${host}\r\n${more}\r\n`;
const LAST = 'Connection: close\r\n';
const http = (say: string): Attempt => ({ kind: 'tcp', host: 'good.test', port: 80, say });
const CHUNKS = '3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nT: x\r\n\r\n';

/** What is tried, each time all of it. */
const ATTEMPTS = {
  named: { kind: 'tls', host: 'good.test' },
  below: { kind: 'tls', host: 'deep.x.below.test' },
  parent: { kind: 'tls', host: 'below.test' },
  unlisted: { kind: 'tls', host: 'evil.test' },
  unlistedByAddress: { kind: 'tls', address: EVIL, servername: 'evil.test' },
  withoutName: { kind: 'tls', address: EVIL },
  withFalseName: { kind: 'tls', address: EVIL, servername: 'good.test' },
  listedAddress: { kind: 'tls', address: LISTED },
  encryptedHello: { kind: 'ech', host: 'good.test' },
  noTls: { kind: 'tcp', address: PLAIN, port: 443, say: 'SSH-2.0-x\r\n' },
  http: http(get('good.test', '/path', LAST)),
  httpBody: http(
    `POST /body HTTP/1.1\r\nHost: good.test\r\n${LAST}Transfer-Encoding: chunked\r\n\r\n${CHUNKS}`,
  ),
  httpFalseHost: http(get('evil.test', '/', LAST)),
  httpByAddress: { kind: 'tcp', address: EVIL, port: 80, say: get('good.test', '/', LAST) },
  httpSecondHost: http(`${get('good.test', '/1')}${get('evil.test', '/2', LAST)}`),
  otherPort: { kind: 'tcp', host: 'good.test', port: 22, say: 'x' },
  quic: { kind: 'udp', address: INTERNET, port: 443 },
  otherResolver: { kind: 'dns', name: 'good.test', type: 'A', server: INTERNET },
  dnsOverHttps: { kind: 'tls', host: 'doh.test' },
  dnsOverHttpsByAddress: { kind: 'tls', address: DOH, servername: 'doh.test' },
  ipv6: { kind: 'tcp', address: '2001:db8::10', port: 443, say: 'x' },
  question: { kind: 'dns', name: 'good.test', type: 'A' },
  longQuestion: { kind: 'long-question', name: 'good.test' },
  toldInAQuestion: { kind: 'dns', name: 'secret.evil.test', type: 'A' },
  toPrivate: { kind: 'tls', host: 'private.good.test' },
  toMachine: { kind: 'tls', host: 'machine.good.test' },
  toLoopback: { kind: 'tls', host: 'loopback.good.test' },
  // The sandbox itself knows nobody by these addresses; the proxy might.
  toResolver: { kind: 'tls', address: GOOD, servername: 'resolver.good.test' },
  toNeighbour: { kind: 'tls', address: GOOD, servername: 'neighbour.good.test' },
} satisfies Record<string, Attempt>;

const POLICIES = {
  open: { kind: 'open' },
  named: {
    kind: 'allowlist',
    cidrs: [`${LISTED}/32`],
    domains: ['good.test', '*.good.test', '*.below.test'],
  },
  all: { kind: 'allowlist', cidrs: [], domains: ['*'] },
  audited: { kind: 'allowlist', cidrs: [], domains: ['good.test', '*.good.test'], audited: true },
  nothing: { kind: 'allowlist', cidrs: [], domains: ['nothing.test'] },
} satisfies Record<string, NetworkPolicy>;

type Results = Record<string, unknown>;

/** Status and bodies of HTTP's answers, where it is that; a TLS alert is a refusal. */
function inShort(result: unknown): unknown {
  const text = String(result);
  if (text.startsWith('\x15')) return 'closed';
  if (!text.startsWith('HTTP/')) return result;
  const bodies = [...text.matchAll(/^([^\r\n|]+)\|/gm)].map(([, body]) => body?.trim());
  return [text.slice(9, 12), ...bodies].join(' ');
}

async function travel(t: TestContext): Promise<Record<string, Results>> {
  const unique = `skerry-test-${process.pid}`;
  const [host, internet] = [`${unique}-h`, `${unique}-i`];
  const lab = await Lab.open(t, [host, internet]);
  const secure = [GOOD, BELOW, EVIL, DOH, LISTED, PRIVATE];
  await lab.connect(internet, [MACHINE, INTERNET], [...secure, PLAIN]);
  const plan: Plan = {
    nameserver: INTERNET,
    internet: { names: NAMES, secure, plain: [PLAIN] },
    attempts: ATTEMPTS,
    ofMachine: { private: { kind: 'tls', address: PRIVATE } },
    policies: POLICIES,
    held: ['good.test', 'evil.test'],
  };
  const printed = (await lab.play(HOST, [lab.directory, internet, JSON.stringify(plan)])) as Record<
    string,
    Results
  >; // what the program prints
  return Object.fromEntries(
    Object.entries(printed).map(([policy, results]) => [
      policy,
      Object.fromEntries(Object.entries(results).map(([name, result]) => [name, inShort(result)])),
    ]),
  );
}

/** Closed to every sandbox, whatever its policy. */
const NEVER = {
  ipv6: 'closed',
  toPrivate: 'closed',
  toMachine: 'closed',
  toLoopback: 'closed',
};

const OPEN = {
  ...NEVER,
  named: `${GOOD} good.test`,
  below: `${BELOW} deep.x.below.test`,
  parent: `${BELOW} below.test`,
  unlisted: `${EVIL} evil.test`,
  unlistedByAddress: `${EVIL} evil.test`,
  withoutName: `${EVIL} no name`,
  withFalseName: `${EVIL} good.test`,
  listedAddress: `${LISTED} no name`,
  encryptedHello: 'the server answered',
  noTls: `${PLAIN} plain`,
  http: `200 ${GOOD} good.test /path`,
  httpBody: `200 ${GOOD} good.test /body abcde`,
  httpFalseHost: `200 ${GOOD} evil.test /`,
  httpByAddress: `200 ${EVIL} good.test /`,
  httpSecondHost: `200 ${GOOD} good.test /1 ${GOOD} evil.test /2`,
  otherPort: `${GOOD} plain`,
  quic: 'datagram',
  otherResolver: `["${GOOD}"]`,
  dnsOverHttps: `${DOH} doh.test`,
  dnsOverHttpsByAddress: `${DOH} doh.test`,
  question: `["${GOOD}"]`,
  longQuestion: GOOD,
  toResolver: `${GOOD} resolver.good.test`,
  toNeighbour: `${GOOD} neighbour.good.test`,
  toldInAQuestion: 'closed', // there is no such name, but somebody was asked
};

/** Whatever way round there is leads nowhere, or where the name says. */
const NAMED = {
  ...OPEN,
  unlisted: 'closed',
  unlistedByAddress: 'closed',
  withoutName: 'closed',
  withFalseName: `${GOOD} good.test`,
  encryptedHello: 'refused',
  noTls: 'closed',
  httpFalseHost: '403',
  httpByAddress: `200 ${GOOD} good.test /`,
  httpSecondHost: `200 ${GOOD} good.test /1`,
  otherPort: 'closed',
  quic: 'closed',
  otherResolver: 'closed',
  dnsOverHttps: 'closed',
  dnsOverHttpsByAddress: 'closed',
  toResolver: 'closed',
  toNeighbour: 'closed',
};

const NOTHING = {
  ...Object.fromEntries(Object.keys(OPEN).map((name) => [name, 'closed'])),
  httpByAddress: '403',
};

const skip =
  process.getuid?.() !== 0 ? 'needs root' : existsSync(egressBinaryPath()) ? false : 'the proxy is not built';

test('sandboxes that may reach domains', { skip }, async (t) => {
  const results = await travel(t);
  const of = (policy: string): Results => {
    const { asked: _, ...reached } = results[policy] ?? {};
    return reached;
  };
  const asked = (policy: string) => results[policy]?.asked as readonly string[]; // what the program prints

  await t.test('reach everything without a policy, so that what follows shows something', () => {
    assert.deepEqual(results.machine, { private: `${PRIVATE} no name` });
    assert.deepEqual(of('open'), OPEN);
    assert.ok(asked('open').includes('secret.evil.test'));
  });

  await t.test(
    'reach these by TLS and HTTP, the addresses they may as well, and nothing by any way round',
    () => {
      assert.deepEqual(of('named'), NAMED);
    },
  );

  await t.test('tell nobody anything by asking for other names', () => {
    assert.ok(asked('named').includes('good.test'));
    assert.deepEqual(
      asked('named').filter((name) => !/(^|\.)(good|below)\.test$/.test(name)),
      [],
    );
    assert.deepEqual(asked('nothing'), []);
  });

  await t.test('reach every name where all are allowed, and still nothing without one', () => {
    assert.deepEqual(of('all'), {
      ...NAMED,
      ...{ unlisted: OPEN.unlisted, unlistedByAddress: OPEN.unlistedByAddress },
      ...{ dnsOverHttps: OPEN.dnsOverHttps, dnsOverHttpsByAddress: OPEN.dnsOverHttpsByAddress },
      listedAddress: 'closed',
      httpFalseHost: `200 ${EVIL} evil.test /`,
    });
  });

  await t.test('reach nothing where none of it is allowed', () => {
    assert.deepEqual(of('nothing'), NOTHING);
  });

  await t.test('are seen in all that they reach and try to, where that is audited', () => {
    const { audited, ...others } = results.told as Record<string, readonly string[]>; // what the program prints
    assert.deepEqual(others, { open: [], named: [], all: [], nothing: [] });
    const expected = [
      ...['deep.x.below.test', 'below.test', 'evil.test', 'doh.test', 'secret.evil.test'].map(
        (name) => `Network: refused question for ${name}.`,
      ),
      ...['tls evil.test', 'tls doh.test', 'http evil.test'].map(
        (what) => `Network: refused ${what}: not allowed.`,
      ),
      // Without a name, without TLS, and with an encrypted hello; and what is sent to an address alone.
      ...Array(4).fill('Network: refused tls: it does not clearly say which host it is for.'),
      ...['private', 'machine', 'resolver', 'neighbour'].map(
        (name) => `Network: failed tls ${name}.good.test: it cannot be reached.`,
      ),
      ...[...Array(2).fill('tls good.test at X:443'), ...Array(4).fill('http good.test at X:80')].flatMap(
        (what: string) => [
          `Network: allowed ${what.replace('X', GOOD)}.`,
          `Network: ended ${what.replace('X', GOOD)}, bytes.`,
        ],
      ),
      // What never came to the proxy.
      ...[`tcp ${GOOD}:22`, `udp ${INTERNET}:443`, `udp ${INTERNET}:53`].map(
        (what) => `Network: refused ${what}.`,
      ),
    ];
    assert.deepEqual([...(audited ?? [])].sort(), expected.sort());
  });

  await t.test('go out by a process that is nobody else', () => {
    for (const instance of ['00000000', '0badcafe', 'ffffffff']) {
      assert.notEqual(egressUser(instance), resolverUser(instance));
      assert.ok(egressUser(instance) >= 0x70000000 && egressUser(instance) < 0x80000000);
    }
  });

  await t.test('keep connections that a change allows, lose others, and go on without the server', () => {
    const [one, other] = [`${GOOD} good.test`, `${EVIL} evil.test`];
    assert.deepEqual(results.changes, {
      rights: [String(egressUser('0badcafe')), '0000000000000000', '0000000000000000', '1'],
      openedBefore: false,
      stillAllowed: true,
      withoutServer: true,
      afterRestart: true,
      sameProcess: true,
      noMoreAllowed: false,
      changed: { one: 'closed', other },
      revived: { one: 'closed', other },
      lastEvents: [
        `Network: allowed tls good.test at ${GOOD}:443.`,
        `Network: ended tls good.test at ${GOOD}:443, bytes.`,
      ],
      besideACrowd: { one, other },
      deaf: "The sandboxes' egress proxy does not answer: domains cannot be allowed now. The server's log says more.",
      heardAgain: { one: 'closed', other },
      blocked: { one: 'closed', other: 'closed' },
      opened: { one, other },
      left: false,
    });
  });
});
