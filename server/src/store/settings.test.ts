import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { openDatabase } from './database.ts';
import { SettingsRepository } from './settings.ts';

test('a setting is absent until it is set, and survives reopening the database', (t) => {
  const dataDir = mkdtempSync(join(tmpdir(), 'skerry-settings-'));
  t.after(() => rmSync(dataDir, { recursive: true, force: true }));
  const database = openDatabase(dataDir);
  const settings = new SettingsRepository(database);
  assert.equal(settings.get('default-environment'), undefined);
  settings.set('default-environment', 'en-1');
  settings.set('default-environment', 'en-2');
  database.close();

  const reopened = openDatabase(dataDir);
  t.after(() => reopened.close());
  assert.equal(new SettingsRepository(reopened).get('default-environment'), 'en-2');
});
