import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { scalePage } from './page.ts';

test('docs/scale.md is what its inputs come to', async () => {
  const committed = readFileSync(new URL('../../docs/scale.md', import.meta.url), 'utf8');
  assert.equal(committed, await scalePage(), 'run `npm run generate`');
});
