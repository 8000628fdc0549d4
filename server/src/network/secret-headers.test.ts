/** Headers that sandboxes do not know the values of: on a machine of the test's own, beside another one that plays the internet. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { egressBinaryPath } from '../agent/agent-binary.ts';
import { makeAuthority, makeServerCertificate } from '../transport/issue-certificate.ts';
import { renderRules } from './secret-headers.ts';
import type { HeadersPlan } from './testing/headers-host.ts';
import type { Said } from './testing/https-sites.ts';
import type { HttpsAttempt } from './testing/https-traveller.ts';
import { Lab } from './testing/lab.ts';

const HOST = fileURLToPath(new URL('testing/headers-host.ts', import.meta.url));

/** Documentation addresses (RFC 5737), all of them the internet's but the first, which is the machine's own. */
const MACHINE = '198.51.100.1';
const INTERNET = '198.51.100.2';
const GOOD = '203.0.113.10';
const OLD = '203.0.113.11';
const OTHER = '203.0.113.20';
/** Has the certificate of another host. */
const WRONG = '203.0.113.30';
/** Has one of an authority that nobody trusts. */
const UNKNOWN = '203.0.113.31';
const NAMES = {
  'good.test': GOOD,
  'old.test': OLD,
  'other.test': OTHER,
  'wrong.test': WRONG,
  'unknown.test': UNKNOWN,
  // The first is where whoever may reach both goes.
  'both.test': [OTHER, GOOD],
};

const MIB = 1 << 20;
const LARGE = 32 * MIB;
/** What the egress process may take at most, KiB, with two such bodies under way at once. */
const PEAK_KIB = 40 * 1024;

const placeholder = { authorization: 'placeholder' };
const h2 = (host: string, more: Partial<Extract<HttpsAttempt, { kind: 'h2' }>> = {}): HttpsAttempt => ({
  ...{ kind: 'h2', host, headers: placeholder },
  ...more,
});
const LAST = 'Connection: close\r\n';
const h1 = (host: string, say: string, more: object = {}): HttpsAttempt => ({
  kind: 'h1',
  host,
  say,
  ...more,
});
const get = (host: string, more = 'Authorization: placeholder\r\n', path = '/') =>
  `GET ${path} HTTP/1.1\r\nHost: ${host}\r\n${more}${LAST}\r\n`;

const ATTEMPTS: Readonly<Record<string, HttpsAttempt>> = {
  new: h2('good.test'),
  certificate: { kind: 'certificate', host: 'good.test' },
  newWithout: h2('good.test', { headers: {} }),
  old: h1('good.test', get('good.test')),
  oldAlone: h1('old.test', get('old.test', 'authorization: placeholder\r\nAUTHORIZATION: another\r\n')),
  other: h2('other.test'),
  otherOld: h1('other.test', get('other.test')),
  // To another host by the name of this one, and the other way round: the name decides where it goes.
  falseName: h2('good.test', { address: OTHER }),
  falseHost: h1('good.test', get('other.test')),
  falseAuthority: h2('good.test', { headers: { ...placeholder, ':authority': 'other.test' } }),
  falseTarget: h1('good.test', get('good.test', undefined, 'https://other.test/')),
  falsePort: h1('good.test', get('good.test:8443')),
  twoHosts: h1('good.test', get('good.test', 'Host: other.test\r\n')),
  // Past what the proxy would find: by no name, by one of another host, and by one that is at an address of the list and at one beside it.
  noName: h2('good.test', { servername: '' }),
  falseAddress: h2('other.test', { address: GOOD }),
  both: h2('both.test'),
  wrong: h2('wrong.test'),
  unknown: h1('unknown.test', get('unknown.test')),
  trace: h1('good.test', `TRACE / HTTP/1.1\r\nHost: good.test\r\n${LAST}\r\n`),
  tunnel: h1('good.test', `CONNECT other.test:443 HTTP/1.1\r\nHost: good.test\r\n${LAST}\r\n`),
  hop: h1(
    'good.test',
    'GET / HTTP/1.1\r\nHost: good.test\r\nConnection: close, authorization, x-hop\r\nX-Hop: 1\r\n\r\n',
  ),
  lengths: h1(
    'good.test',
    `POST / HTTP/1.1\r\nHost: good.test\r\n${LAST}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n`,
  ),
  longHead: h1('good.test', get('good.test', `X: ${'x'.repeat(80_000)}\r\n`)),
  webSocket: h1(
    'good.test',
    'GET / HTTP/1.1\r\nHost: good.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nAuthorization: placeholder\r\n\r\nagain\n',
    { until: 'again\n' },
  ),
};

const rule = (domain: string, value: string) => ({ domain, headers: { Authorization: value } });
const RULES = ['good.test', 'old.test', 'wrong.test', 'unknown.test'].map((name) => rule(name, 'value-1'));

async function planOf(): Promise<HeadersPlan> {
  const day = 86_400_000;
  const validity = { notBefore: new Date(Date.now() - day), notAfter: new Date(Date.now() + day) };
  const [root, stranger, authority] = await Promise.all(
    ['root', 'stranger', 'authority'].map((name) => makeAuthority(`test ${name}`, validity, undefined)),
  );
  if (!root || !stranger || !authority) throw new Error('three were made');
  const site = async (
    address: string,
    names: string | string[],
    issuer = root,
    protocols: readonly ('h2' | 'http/1.1')[] = ['h2', 'http/1.1'],
  ) => ({
    ...{ address, protocols },
    ...(await makeServerCertificate(issuer, [names].flat(), validity, undefined)),
  });
  return {
    nameserver: INTERNET,
    internet: { names: NAMES, secure: [], plain: [] },
    sites: await Promise.all([
      site(GOOD, ['good.test', 'both.test']),
      site(OLD, 'old.test', root, ['http/1.1']),
      site(OTHER, ['other.test', 'both.test']),
      site(WRONG, 'other.test'),
      site(UNKNOWN, 'unknown.test', stranger),
    ]),
    trust: { authority, roots: [root.cert] },
    sandboxes: {
      one: { policy: { kind: 'open' }, rules: RULES },
      two: {
        policy: { kind: 'allowlist', cidrs: [], domains: ['*'] },
        rules: [rule('good.test', 'value-2')],
      },
      three: {
        policy: { kind: 'allowlist', cidrs: [`${GOOD}/32`] },
        rules: ['good.test', 'old.test', 'other.test', 'both.test'].map((name) => rule(name, 'value-4')),
      },
      none: { policy: { kind: 'open' } },
    },
    attempts: ATTEMPTS,
    large: {
      upNew: h2('good.test', { headers: { ':method': 'POST' }, body: LARGE }),
      downNew: h2('good.test', { headers: { ':path': `/download/${LARGE}` } }),
      upOld: h1('old.test', `POST / HTTP/1.1\r\nHost: old.test\r\n${LAST}Content-Length: ${LARGE}\r\n\r\n`, {
        body: LARGE,
      }),
      downOld: h1('old.test', get('old.test', '', `/download/${LARGE}`)),
    },
    again: { good: h2('good.test'), old: h1('old.test', get('old.test')) },
    changed: [rule('*', 'value-3')],
  };
}

type Results = Readonly<Record<string, string>>;

/** Status and, of what a site says, which one with what authorization; else the first line. */
function inShort(result: string | undefined): string {
  const text = result ?? '';
  const status = /^(?:HTTP\/1\.1 )?(\d{3})/.exec(text)?.[1];
  const json = /\{.*\}/s.exec(text)?.[0];
  if (status === undefined || json === undefined) return status ?? text;
  const { site, version, host, authorization } = JSON.parse(json) as Said; // what a site prints
  return [status, site, version, host, ...authorization].join(' ');
}

async function travel(t: TestContext, plan: HeadersPlan) {
  const unique = `skerry-test-${process.pid}`;
  const [host, internet] = [`${unique}-h`, `${unique}-i`];
  const lab = await Lab.open(t, [host, internet]);
  await lab.connect(
    internet,
    [MACHINE, INTERNET],
    plan.sites.map(({ address }) => address),
  );
  await writeFile(join(lab.directory, 'plan.json'), JSON.stringify(plan));
  // What the program prints.
  return (await lab.play(HOST, [lab.directory, internet])) as Record<
    'one' | 'two' | 'three' | 'none',
    Results
  > & {
    readonly large: Results & { readonly peakKiB: number };
    readonly changes: Record<string, Results>;
  };
}

const skip =
  process.getuid?.() !== 0 ? 'needs root' : existsSync(egressBinaryPath()) ? false : 'the proxy is not built';

test('words for the proxy hold nothing that could be taken for others', () => {
  const headers = { 'x-key': 'a b\tc: *' };
  assert.deepEqual(renderRules([]), []);
  assert.deepEqual(renderRules([{ domain: '*.a.test', headers }]), [
    ':',
    '*.a.test',
    'x-key',
    '61206209633a202a',
  ]);
});

test('secret headers', { skip }, async (t) => {
  const plan = await planOf();
  const results = await travel(t, plan);
  await import('reflect-metadata'); // the library's dependency injection needs it
  const { X509Certificate } = await import('@peculiar/x509');
  const issuerName = Buffer.from(new X509Certificate(plan.trust.authority.cert).subjectName.toArrayBuffer());
  const one = (name: string) => inShort(results.one[name]);

  await t.test('come with a certificate that even those take who compare names byte by byte', () => {
    const leaf = Buffer.from(results.one.certificate ?? '', 'base64');
    assert.ok(leaf.includes(issuerName));
    assert.ok(!Buffer.from(results.none.certificate ?? '', 'base64').includes(issuerName));
  });

  await t.test('are put into every request for their hosts, in the place of what was there', () => {
    assert.equal(one('new'), `200 ${GOOD} 2.0 good.test value-1`);
    assert.equal(one('newWithout'), `200 ${GOOD} 2.0 good.test value-1`);
    assert.equal(one('old'), `200 ${GOOD} 1.1 good.test value-1`);
    assert.equal(one('oldAlone'), `200 ${OLD} 1.1 old.test value-1`);
    assert.match(results.one.webSocket ?? '', /^HTTP\/1\.1 101 [\s\S]*\r\n\r\nvalue-1\nagain\n$/);
    assert.ok(!results.one.new?.includes('h3='), 'no other way is offered');
  });

  await t.test('go to no other host', () => {
    assert.equal(one('other'), `200 ${OTHER} 2.0 other.test:443 placeholder`);
    assert.equal(one('otherOld'), `200 ${OTHER} 1.1 other.test placeholder`);
    assert.equal(one('falseName'), `200 ${GOOD} 2.0 good.test value-1`);
    for (const name of ['falseHost', 'falseAuthority', 'falseTarget', 'falsePort'])
      assert.equal(one(name), '421', name);
    assert.equal(one('twoHosts'), '400');
  });

  await t.test('go to nobody who cannot show that they are the host', () => {
    for (const name of ['wrong', 'unknown']) {
      assert.equal(one(name), '502', name);
      assert.match(results.one[name] ?? '', /certificate/);
    }
  });

  await t.test('are not shown, lost or doubled by what could be read in two ways', () => {
    assert.deepEqual([one('trace'), one('tunnel')], ['405', '405']);
    assert.equal(one('hop'), `200 ${GOOD} 1.1 good.test value-1`);
    assert.ok(!results.one.hop?.includes('x-hop'));
    assert.equal(one('lengths'), `200 ${GOOD} 1.1 good.test value-1`);
    assert.match(results.one.lengths ?? '', /"bytes":3/);
    assert.match(one('longHead'), /^(4\d\d)?$/);
  });

  await t.test('are of one sandbox, also under a list of domains', () => {
    const two = (name: string) => inShort(results.two[name]);
    assert.equal(two('new'), `200 ${GOOD} 2.0 good.test value-2`);
    assert.equal(two('oldAlone'), `200 ${OLD} 1.1 old.test placeholder another`);
    assert.equal(two('other'), `200 ${OTHER} 2.0 other.test:443 placeholder`);
    assert.equal(inShort(results.none.new), `200 ${GOOD} 2.0 good.test:443 placeholder`);
    assert.doesNotMatch(JSON.stringify([results.two, results.none]), /value-1/);
  });

  await t.test('go with ranges of addresses to hosts in them, found by the proxy, and to no others', () => {
    const three = (name: string) => inShort(results.three[name]);
    for (const name of ['new', 'falseName']) assert.equal(three(name), `200 ${GOOD} 2.0 good.test value-4`);
    for (const name of ['oldAlone', 'other', 'otherOld', 'wrong', 'unknown'])
      assert.doesNotMatch(three(name), /^\d/, name);
    assert.doesNotMatch(JSON.stringify([results.one, results.two, results.none]), /value-4/);
  });

  await t.test('open nothing beside the ranges, whatever name a connection has', () => {
    const three = (name: string) => inShort(results.three[name]);
    const none = (name: string) => inShort(results.none[name]);
    assert.equal(three('both'), `200 ${GOOD} 2.0 both.test value-4`);
    assert.equal(none('both'), `200 ${OTHER} 2.0 both.test:443 placeholder`, 'it could be reached');
    for (const name of ['noName', 'falseAddress']) {
      assert.doesNotMatch(three(name), /^\d|CERT/, name);
      assert.equal(none(name), 'ERR_TLS_CERT_ALTNAME_INVALID', 'somebody answered');
    }
  });

  await t.test('let large bodies pass in little memory', () => {
    const { peakKiB, ...large } = results.large;
    for (const name of ['upNew', 'upOld'])
      assert.match(large[name] ?? '', new RegExp(`"bytes":${LARGE}[,}]`), name);
    assert.equal(large.downNew, `200 ${LARGE}`);
    assert.ok(Number(large.downOld) > LARGE, large.downOld);
    assert.ok(peakKiB < PEAK_KIB, `${peakKiB} KiB`);
  });

  await t.test('are changed while it runs, and outlive the server and the proxy', () => {
    const { changed, afterRestart, goesOn, without, revived } = results.changes;
    const with3 = { good: `200 ${GOOD} 2.0 good.test value-3`, old: `200 ${OLD} 1.1 old.test value-3` };
    const of = (all: Results | undefined) =>
      Object.fromEntries(Object.entries(all ?? {}).map(([name, result]) => [name, inShort(result)]));
    assert.deepEqual(of(changed), with3);
    assert.equal(goesOn, true);
    assert.deepEqual(of(afterRestart), with3);
    assert.deepEqual(of(without), {
      good: `200 ${GOOD} 2.0 good.test:443 placeholder`,
      old: `200 ${OLD} 1.1 old.test placeholder`,
    });
    assert.deepEqual(of(revived), {
      good: `200 ${GOOD} 2.0 good.test value-1`,
      old: `200 ${OLD} 1.1 old.test value-1`,
    });
  });
});
