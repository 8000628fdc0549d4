import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { SkerryError } from '../errors/skerry-error.ts';
import { type Certificate, loadCertificate, loadWildcardCertificate } from './certificate.ts';
import { clientUrl, type Listening, localUrl, remoteUrl } from './urls.ts';

const DAY_MS = 86_400_000;

async function withDataDir(use: (dataDir: string) => Promise<void>): Promise<void> {
  const dataDir = await mkdtemp(join(tmpdir(), 'skerry-cert-'));
  try {
    await use(dataDir);
  } finally {
    await rm(dataDir, { recursive: true, force: true });
  }
}

const own = (dataDir: string, names: readonly string[] = [], now = Date.now()) =>
  loadCertificate({ dataDir, certFile: '', keyFile: '', names, now: () => now });
const leafOf = ({ cert }: Certificate) => new X509Certificate(cert);

test('an own certificate is made under an own authority, for the names asked for, and readable by its owner only', () =>
  withDataDir(async (dataDir) => {
    const made = await own(dataDir, ['lab.example.com', '192.0.2.7', '2001:db8::7']);
    const authority = new X509Certificate(await readFile(join(dataDir, 'tls/ca.pem')));
    const leaf = leafOf(made);
    assert.ok(authority.ca && !leaf.ca);
    assert.ok(leaf.checkIssued(authority) && leaf.verify(authority.publicKey));
    assert.ok(made.cert.includes(authority.toString().trim()), 'the chain has the authority');
    for (const name of ['localhost', 'lab.example.com']) assert.equal(leaf.checkHost(name), name);
    for (const address of ['127.0.0.1', '192.0.2.7', '2001:db8::7']) assert.ok(leaf.checkIP(address));
    assert.equal(made.configured, false);
    assert.match(made.fingerprint, /^sha256:[0-9a-f]{64}$/);
    for (const name of await readdir(join(dataDir, 'tls'))) {
      assert.equal((await stat(join(dataDir, 'tls', name))).mode & 0o777, 0o600, name);
    }
    assert.equal((await own(dataDir)).cert, made.cert, 'one that serves is kept');
  }));

test('a renewed certificate keeps its key and its authority', () =>
  withDataDir(async (dataDir) => {
    const first = await own(dataDir);
    const named = await own(dataDir, ['lab.example.com']);
    assert.notEqual(named.cert, first.cert);
    const nextYear = await own(dataDir, ['lab.example.com'], Date.now() + 380 * DAY_MS);
    assert.notEqual(nextYear.cert, named.cert);
    assert.deepEqual([named.fingerprint, nextYear.fingerprint], [first.fingerprint, first.fingerprint]);
    const authority = new X509Certificate(await readFile(join(dataDir, 'tls/ca.pem')));
    assert.ok(leafOf(nextYear).verify(authority.publicKey));
    const later = await own(dataDir, [], Date.now() + 3640 * DAY_MS);
    assert.equal(later.fingerprint, first.fingerprint);
    assert.ok(leafOf(later).verify(authority.publicKey), 'the authority is renewed with its key');
  }));

test('a certificate for all names below a domain is of the same authority, and kept', () =>
  withDataDir(async (dataDir) => {
    await own(dataDir);
    const files = { dataDir, certFile: '', keyFile: '', now: Date.now };
    const made = await loadWildcardCertificate({ ...files, domain: 'tunnels.example' });
    const leaf = leafOf(made);
    assert.ok(leaf.checkHost('any.tunnels.example'));
    for (const name of ['tunnels.example', 'a.b.tunnels.example', 'localhost']) {
      assert.equal(leaf.checkHost(name), undefined, name);
    }
    assert.ok(leaf.verify(new X509Certificate(await readFile(join(dataDir, 'tls/ca.pem'))).publicKey));
    const again = await loadWildcardCertificate({ ...files, domain: 'tunnels.example' });
    assert.equal(again.cert, made.cert);
    const other = await loadWildcardCertificate({ ...files, domain: 'other.example' });
    assert.ok(leafOf(other).checkHost('any.other.example'));
    await assert.rejects(loadWildcardCertificate({ ...files, domain: 'other.example', certFile: '/a' }), {
      code: 'invalid-argument',
    });
  }));

test('a damaged certificate is made anew', () =>
  withDataDir(async (dataDir) => {
    const first = await own(dataDir);
    await writeFile(join(dataDir, 'tls/key.pem'), 'damaged');
    assert.notEqual((await own(dataDir)).fingerprint, first.fingerprint);
  }));

test("the operator's certificate is used as it is, and refused when it is none", () =>
  withDataDir(async (dataDir) => {
    const made = await own(dataDir, ['lab.example.com']);
    const certFile = join(dataDir, 'tls/cert.pem');
    const keyFile = join(dataDir, 'tls/key.pem');
    const load = (files: { readonly certFile: string; readonly keyFile: string }) =>
      loadCertificate({ dataDir: '/nonexistent', names: [], now: Date.now, ...files });
    const loaded = await load({ certFile, keyFile });
    assert.deepEqual([loaded.configured, loaded.cert, loaded.name], [true, made.cert, 'lab.example.com']);
    const invalid = (error: unknown) => error instanceof SkerryError && error.code === 'invalid-argument';
    await assert.rejects(load({ certFile, keyFile: '' }), invalid);
    await assert.rejects(load({ certFile, keyFile: join(dataDir, 'none') }), invalid);
    await assert.rejects(load({ certFile, keyFile: join(dataDir, 'tls/ca-key.pem') }), invalid);
  }));

test('URLs: by name with the certificate of the operator, by address without', () => {
  const own = { configured: false, name: undefined };
  const theirs = { configured: true, name: 'lab.example.com' };
  const port = 7423;
  const names = ['lab', '192.0.2.7', 'fd00::7'];
  const urls = (host: string, certificate: Listening['certificate']) => {
    const listening = { host, port, certificate };
    return [localUrl(listening), clientUrl(listening), remoteUrl(listening, names)];
  };
  assert.deepEqual(urls('127.0.0.1', theirs), ['http://127.0.0.1:7423', 'http://127.0.0.1:7423', undefined]);
  assert.deepEqual(urls('0.0.0.0', own), [
    'http://127.0.0.1:7423',
    'http://127.0.0.1:7423',
    'https://192.0.2.7:7423',
  ]);
  assert.deepEqual(urls('0.0.0.0', theirs), [
    'http://127.0.0.1:7423',
    'https://lab.example.com:7423',
    'https://lab.example.com:7423',
  ]);
  assert.deepEqual(urls('fd00::7', own), [
    'http://[fd00::7]:7423',
    'http://[fd00::7]:7423',
    'https://[fd00::7]:7423',
  ]);
  const lab = { host: '0.0.0.0', port, certificate: own };
  assert.equal(remoteUrl(lab, ['lab.example.com', ...names]), 'https://lab.example.com:7423');
  assert.equal(remoteUrl(lab, ['lab']), 'https://lab:7423');
});
