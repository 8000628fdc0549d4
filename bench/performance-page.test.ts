import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { performancePage } from './performance-page.ts';

test('the table of docs/performance.md is what the newest results come to', () => {
  const committed = readFileSync(new URL('../docs/performance.md', import.meta.url), 'utf8');
  assert.equal(committed, performancePage(), 'run `npm run generate`');
});
