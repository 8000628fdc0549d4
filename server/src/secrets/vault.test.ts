import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { AesVault, openVault } from './vault.ts';

function directory(t: TestContext): string {
  const path = mkdtempSync(join(tmpdir(), 'skerry-vault-'));
  t.after(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString();

test('the key file is made once, private, and opens what was sealed before', (t) => {
  const dataDir = directory(t);
  const sealed = openVault(dataDir, undefined).seal(Buffer.from('hello'));
  assert.equal(statSync(join(dataDir, 'vault.key')).mode & 0o777, 0o600);
  assert.deepEqual(readdirSync(dataDir), ['vault.key']);
  assert.equal(text(openVault(dataDir, undefined).open(sealed)), 'hello');
  chmodSync(join(dataDir, 'vault.key'), 0o644);
  assert.throws(() => openVault(dataDir, undefined), /chmod 600/);
});

test('a key from the environment leaves no file', (t) => {
  const dataDir = directory(t);
  const hex = 'ab'.repeat(32);
  const sealed = openVault(dataDir, hex).seal(Buffer.from('x'));
  const base64 = Buffer.from(hex, 'hex').toString('base64');
  assert.equal(text(openVault(dataDir, ` ${base64}\n`).open(sealed)), 'x');
  assert.deepEqual(readdirSync(dataDir), []);
  assert.throws(() => openVault(dataDir, 'short'), /32 bytes/);
});

test('each ciphertext is new and opens only whole, under its context and with its key', () => {
  const vault = new AesVault(Buffer.alloc(32, 1));
  const sealed = vault.seal(Buffer.from('value'), 'st-1');
  assert.notDeepEqual(vault.seal(Buffer.from('value'), 'st-1'), sealed);
  assert.ok(!text(sealed).includes('value'));
  assert.equal(text(vault.open(sealed, 'st-1')), 'value');
  assert.throws(() => vault.open(sealed, 'st-2'), { code: 'internal' });
  assert.throws(() => vault.open(sealed), { code: 'internal' });
  assert.throws(() => new AesVault(Buffer.alloc(32, 2)).open(sealed, 'st-1'), { code: 'internal' });
  for (const index of sealed.keys()) {
    const broken = Uint8Array.from(sealed, (byte, at) => (at === index ? byte ^ 1 : byte));
    assert.throws(() => vault.open(broken, 'st-1'), { code: 'internal' }, `byte ${index}`);
  }
  assert.throws(() => vault.open(sealed.subarray(0, 10), 'st-1'), { code: 'internal' });
});

test('derived keys differ by purpose and stay the same', () => {
  const vault = new AesVault(Buffer.alloc(32, 1));
  assert.deepEqual(vault.deriveKey('a'), new AesVault(Buffer.alloc(32, 1)).deriveKey('a'));
  assert.notDeepEqual(vault.deriveKey('a'), vault.deriveKey('b'));
  assert.equal(vault.deriveKey('a').length, 32);
});

test('the key file holds hexadecimal text', (t) => {
  const dataDir = directory(t);
  openVault(dataDir, '');
  assert.match(readFileSync(join(dataDir, 'vault.key'), 'utf8'), /^[0-9a-f]{64}\n$/);
});
