import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { openStore } from './store.ts';

test('a setting is absent until it is set, and survives reopening the database', (t) => {
  const dataDir = mkdtempSync(join(tmpdir(), 'skerry-settings-'));
  t.after(() => rmSync(dataDir, { recursive: true, force: true }));
  const store = openStore(dataDir);
  const { settings } = store;
  assert.equal(settings.get('default-environment'), undefined);
  settings.set('default-environment', 'en-1');
  settings.set('default-environment', 'en-2');
  store.close();

  const reopened = openStore(dataDir);
  t.after(() => reopened.close());
  assert.equal(reopened.settings.get('default-environment'), 'en-2');
});
