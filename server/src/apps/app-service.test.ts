import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import type { SkerryError } from '../errors/skerry-error.ts';
import { openTestStore } from '../store/testing/open-test-store.ts';
import { AppService } from './app-service.ts';
import { builderVersionFor } from './builder-version.ts';

function setUp(t: TestContext) {
  const dataDir = mkdtempSync(join(tmpdir(), 'skerry-apps-'));
  const store = openTestStore(dataDir);
  t.after(() => {
    store.close();
    rmSync(dataDir, { recursive: true, force: true });
  });
  const clock = { ms: 1_700_000_000_000 };
  return { store, clock, apps: new AppService(store, () => clock.ms) };
}

const code =
  (expected: string) =>
  (error: unknown): boolean =>
    (error as SkerryError).code === expected;

test('the empty name is the default environment, which is made once', (t) => {
  const { store, apps } = setUp(t);
  const environment = apps.environment('');
  assert.equal(environment.name, 'main');
  assert.equal(environment.isDefault, true);
  assert.equal(new AppService(store).environment('main').id, environment.id);
  assert.throws(() => apps.deleteEnvironment('main'), code('conflict'));
});

test('the default environment stays the default one under another name', (t) => {
  const { apps } = setUp(t);
  const before = apps.environment('');
  apps.updateEnvironment('main', { name: 'prod', imageBuilderVersion: '2024.10', webSuffix: 'x' });
  const after = apps.environment('');
  assert.deepEqual(
    [after.id, after.name, after.isDefault, after.imageBuilderVersion, after.webSuffix],
    [before.id, 'prod', true, '2024.10', 'x'],
  );
});

test('environments keep to the rules for their names and versions', (t) => {
  const { apps } = setUp(t);
  for (const name of ['', '-a', 'en-1', 'a.b', 'a'.repeat(65), 'a/b']) {
    assert.throws(() => apps.createEnvironment(name), code('invalid-argument'), name);
  }
  apps.createEnvironment('dev');
  assert.throws(() => apps.createEnvironment('dev'), code('already-exists'));
  assert.throws(() => apps.updateEnvironment('dev', { name: 'main' }), code('already-exists'));
  assert.throws(
    () => apps.updateEnvironment('dev', { imageBuilderVersion: '2031.01' }),
    code('invalid-argument'),
  );
  assert.throws(() => apps.environment('none'), code('not-found'));
});

test('deleting an environment takes its apps along', (t) => {
  const { apps } = setUp(t);
  apps.createEnvironment('dev');
  const app = apps.lookup('dev', 'web', true);
  const { id } = apps.environment('dev');
  const deleted: string[] = [];
  apps.whenEnvironmentDeleted((each) => deleted.push(each));
  assert.throws(() => apps.deleteEnvironment('main'), code('conflict'));
  apps.deleteEnvironment('dev');
  assert.throws(() => apps.get(app.id), code('not-found'));
  assert.deepEqual(deleted, [id]);
});

test('an app is found by name and by id, and made only on request', (t) => {
  const { apps } = setUp(t);
  assert.throws(() => apps.lookup('', 'web', false), code('not-found'));
  const app = apps.lookup('', 'web', true);
  assert.equal(app.state, 'deployed');
  assert.equal(apps.lookup('main', 'web', true).id, app.id);
  assert.equal(apps.lookup('', app.id, false).id, app.id);
  assert.throws(() => apps.lookup('', 'ap-0123456789012345678901', true), code('not-found'));
  for (const name of ['', 'a b', 'é', '../x', 'a'.repeat(65)]) {
    assert.throws(() => apps.lookup('', name, true), code('invalid-argument'), name);
  }
});

test('a stopped app frees its name and leaves the list after a day', (t) => {
  const { apps, clock } = setUp(t);
  const first = apps.lookup('', 'web', true);
  apps.setState(first.id, 'stopped');
  assert.throws(() => apps.setState(first.id, 'deployed'), code('conflict'));
  assert.throws(() => apps.heartbeat(first.id), code('conflict'));
  const second = apps.lookup('', 'web', true);
  assert.notEqual(second.id, first.id);
  assert.deepEqual(
    apps.list('').map(({ id }) => id),
    [second.id, first.id],
  );
  clock.ms += 25 * 60 * 60 * 1000;
  assert.deepEqual(
    apps.list('').map(({ id }) => id),
    [second.id],
  );
});

test('publishing under a taken name fails', (t) => {
  const { apps } = setUp(t);
  apps.lookup('', 'web', true);
  const other = apps.createEphemeral('', 'other', 'initializing', {});
  assert.throws(() => apps.setState(other.id, 'deployed', 'web'), code('already-exists'));
  assert.equal(apps.setState(other.id, 'deployed', 'web2').name, 'web2');
  assert.equal(apps.find('', 'web2')?.id, other.id);
});

test('creation times differ although the clock stands still', (t) => {
  const { apps } = setUp(t);
  const times = ['a', 'b', 'c'].map((name) => apps.lookup('', name, true).createdAtMs);
  assert.equal(new Set(times).size, 3);
  assert.deepEqual(
    apps.list('').map(({ createdAtMs }) => createdAtMs),
    times.toReversed(),
  );
});

test('tags are replaced as a whole and bounded', (t) => {
  const { apps } = setUp(t);
  const app = apps.createEphemeral('', 'x', 'ephemeral', { a: '1' });
  apps.setTags(app.id, { b: '2' });
  assert.deepEqual(apps.get(app.id).tags, { b: '2' });
  assert.throws(() => apps.setTags(app.id, { '': 'x' }), code('invalid-argument'));
  assert.throws(() => apps.setTags(app.id, { k: 'x'.repeat(1025) }), code('invalid-argument'));
});

test('a Python client is told a builder version it knows', () => {
  assert.equal(builderVersionFor('2025.06', '1.0.5'), '2024.10');
  assert.equal(builderVersionFor('2025.06', '1.3.5'), '2025.06');
  assert.equal(builderVersionFor('2026.10', '1.5.5'), '2025.06');
  assert.equal(builderVersionFor('2026.10', '1.6.4'), '2026.10');
  assert.equal(builderVersionFor('2025.06', '0.73.1'), '2024.10');
  assert.equal(builderVersionFor('2025.06', '0.64.1'), '2024.04');
  assert.equal(builderVersionFor('2025.06', '1.10.0'), '2025.06');
  assert.equal(builderVersionFor('PREVIEW', '1.0.5'), 'PREVIEW');
  assert.equal(builderVersionFor('2025.06', 'unknown'), '2025.06');
});
