import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { AppService } from '../apps/app-service.ts';
import type { SecretId } from '../ids.ts';
import { aboutSqlite, openTestStore } from '../store/testing/open-test-store.ts';
import { SecretService } from './secret-service.ts';
import { AesVault } from './vault.ts';

function setUp(t: TestContext) {
  const dataDir = mkdtempSync(join(tmpdir(), 'skerry-secrets-'));
  const store = openTestStore(dataDir);
  t.after(() => {
    store.close();
    rmSync(dataDir, { recursive: true, force: true });
  });
  const clock = { ms: 1_700_000_000_000 };
  const secrets = new SecretService(store.secrets, new AesVault(Buffer.alloc(32, 7)), () => clock.ms);
  const environmentId = new AppService(store).environment('').id;
  return { dataDir, secrets, environmentId, clock };
}

test('later sources win, and resolving marks a secret as used', (t) => {
  const { secrets, environmentId, clock } = setUp(t);
  const a = secrets.create(environmentId, 'a', { X: '1', Y: '1' }, 'fail');
  assert.equal(a.lastUsedAtMs, undefined);
  const env = secrets.resolve([
    { kind: 'stored', id: a.id },
    { kind: 'inline', env: { Y: '2', Z: 'ü "$\n' } },
  ]);
  assert.deepEqual(env, { X: '1', Y: '2', Z: 'ü "$\n' });
  assert.equal(secrets.get(a.id).lastUsedAtMs, clock.ms);
});

test('an existing name is kept, refused or replaced as asked', (t) => {
  const { secrets, environmentId } = setUp(t);
  const first = secrets.create(environmentId, 'a', { X: '1' }, 'fail');
  const values = () => secrets.resolve([{ kind: 'stored', id: first.id }]);
  assert.throws(() => secrets.create(environmentId, 'a', { X: '2' }, 'fail'), { code: 'already-exists' });
  assert.equal(secrets.create(environmentId, 'a', { X: '2' }, 'keep').id, first.id);
  assert.deepEqual(values(), { X: '1' });
  assert.equal(secrets.create(environmentId, 'a', { W: '3' }, 'replace').id, first.id);
  assert.deepEqual(values(), { W: '3' });
  assert.deepEqual(secrets.get(first.id).keys, ['W']);
});

test('a lookup names the missing keys in the words the clients know', (t) => {
  const { secrets, environmentId } = setUp(t);
  secrets.create(environmentId, 'a', { X: '1' }, 'fail');
  assert.equal(secrets.lookup(environmentId, 'a', ['X']).name, 'a');
  assert.throws(() => secrets.lookup(environmentId, 'a', ['X', 'TOKEN']), {
    code: 'conflict',
    message: /Secret is missing key\(s\): TOKEN/,
  });
  assert.throws(() => secrets.lookup(environmentId, 'b', []), { code: 'not-found' });
});

test('an update merges and removes', (t) => {
  const { secrets, environmentId } = setUp(t);
  const { id } = secrets.create(environmentId, 'a', { X: '1', Y: '1' }, 'fail');
  secrets.update(id, { X: undefined, Z: '3' });
  assert.deepEqual(secrets.resolve([{ kind: 'stored', id }]), { Y: '1', Z: '3' });
  secrets.delete(id);
  assert.throws(() => secrets.get(id), { code: 'not-found' });
  assert.throws(() => secrets.delete(id), { code: 'not-found' });
});

test('an ephemeral secret lives for a day and is in no list', (t) => {
  const { secrets, environmentId, clock } = setUp(t);
  const { id, name } = secrets.createEphemeral(environmentId, { X: '1' });
  assert.equal(name, undefined);
  assert.deepEqual(secrets.list(environmentId, undefined, 100), []);
  clock.ms += 24 * 60 * 60 * 1000 - 1;
  secrets.sweep(clock.ms);
  assert.deepEqual(secrets.resolve([{ kind: 'stored', id }]), { X: '1' });
  clock.ms += 1;
  assert.throws(() => secrets.resolve([{ kind: 'stored', id }]), { code: 'not-found' });
  secrets.sweep(clock.ms);
  clock.ms -= 1; // only a removed row is still not found now
  assert.throws(() => secrets.get(id), { code: 'not-found' });
});

test('values of ephemeral secrets are told apart by what says nothing about them; those of named ones do not count', (t) => {
  const { secrets, environmentId } = setUp(t);
  const made = (env: Record<string, string>) => secrets.createEphemeral(environmentId, env).id;
  const named = secrets.create(environmentId, 'a', { X: '1' }, 'fail').id;
  assert.equal(secrets.fingerprintEphemeral([]), undefined);
  assert.equal(secrets.fingerprintEphemeral([named]), undefined);
  const one = secrets.fingerprintEphemeral([made({ A: '1', B: '2' })]);
  assert.match(one ?? '', /^[0-9a-f]{64}$/);
  assert.equal(secrets.fingerprintEphemeral([made({ B: '2', A: '1' }), named]), one);
  assert.notEqual(secrets.fingerprintEphemeral([made({ A: '1', B: '3' })]), one);
  assert.notEqual(secrets.fingerprintEphemeral([made({ A: '1' }), made({ B: '2' })]), one);
  assert.throws(() => secrets.fingerprintEphemeral(['st-none' as SecretId]), { code: 'not-found' });
});

test('pages follow each other without loss, newest first', (t) => {
  const { secrets, environmentId } = setUp(t);
  const names = ['a', 'b', 'c', 'd', 'e'];
  for (const name of names) secrets.create(environmentId, name, {}, 'fail');
  const seen: (string | undefined)[] = [];
  for (let before: number | undefined; ; ) {
    const page = secrets.list(environmentId, before, 2);
    if (page.length === 0) break;
    seen.push(...page.map(({ name }) => name));
    before = page.at(-1)?.createdAtMs;
  }
  assert.deepEqual(seen, names.toReversed());
});

test('what cannot be an environment variable is refused, without its value in the message', (t) => {
  const { secrets, environmentId } = setUp(t);
  const refuse = (env: Record<string, string>, code: string) =>
    assert.throws(
      () => secrets.createEphemeral(environmentId, env),
      (error: Error & { code?: string }) => error.code === code && !error.message.includes('hidden'),
    );
  refuse({ '1A': 'hidden' }, 'invalid-argument');
  refuse({ 'A B': 'hidden' }, 'invalid-argument');
  refuse({ '': 'hidden' }, 'invalid-argument');
  refuse({ A: 'hidden\0' }, 'invalid-argument');
  refuse({ A: 'hidden'.repeat(6_000) }, 'too-large');
  refuse(Object.fromEntries(Array.from({ length: 257 }, (_, i) => [`K${i}`, 'hidden'])), 'too-large');
  refuse(
    Object.fromEntries(Array.from({ length: 17 }, (_, i) => [`K${i}`, 'x'.repeat(32_000)])),
    'too-large',
  );
});

test('a key named __proto__ is a key like any other', (t) => {
  const { secrets, environmentId } = setUp(t);
  const env = JSON.parse('{"__proto__": "1"}');
  const { id, keys } = secrets.createEphemeral(environmentId, env);
  assert.deepEqual(keys, ['__proto__']);
  assert.deepEqual(Object.entries(secrets.resolve([{ kind: 'stored', id }])), [['__proto__', '1']]);
});

test('no value reaches the disk in clear', { skip: aboutSqlite }, (t) => {
  const { dataDir, secrets, environmentId } = setUp(t);
  secrets.create(environmentId, 'a', { TOKEN: 'correct-horse-battery' }, 'fail');
  const onDisk = readdirSync(dataDir).map((name) => readFileSync(join(dataDir, name), 'latin1'));
  assert.ok(onDisk.some((text) => text.includes('TOKEN')));
  assert.ok(onDisk.every((text) => !text.includes('correct-horse-battery')));
});

test('text that is no id finds nothing', (t) => {
  const { secrets } = setUp(t);
  assert.throws(() => secrets.resolve([{ kind: 'stored', id: "' OR 1=1" as SecretId }]), {
    code: 'not-found',
  });
});
