import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { systemPackages } from './lib/system-packages.mjs';

test('the container image has the Debian packages that set-up installs on a machine', () => {
  const dockerfile = readFileSync(new URL('../deploy/Dockerfile', import.meta.url), 'utf8');
  const [, installed = ''] = /apt-get install -y --no-install-recommends \\\n([^&]*)/.exec(dockerfile) ?? [];
  const names = installed.split(/[\s\\]+/).filter(Boolean);
  for (const { name } of systemPackages) assert.ok(names.includes(name), name);
});
