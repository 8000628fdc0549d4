import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ratiosOf, slower } from './ratios.ts';
import { newestPage, readPage } from './result-page.ts';
import { summarize } from './statistics.ts';
import { table } from './table.ts';

/** As `main.ts` writes one. */
const page = (skerryMs: readonly number[]) =>
  [
    '# Create and exec',
    '- 2 × some processor',
    '## Create to first output',
    '',
    ...table(
      [
        { name: 'runc', summary: summarize([40, 50]) },
        { name: 'skerry (runc)', summary: summarize(skerryMs) },
      ],
      ['runc'],
    ),
    '',
    '## Exec round trip',
    ...table([{ name: 'skerry (runc)', summary: summarize([5]) }], ['runc']),
  ].join('\n');
const key = 'Create to first output, skerry (runc)';

test('the newest page of a kind is found by its date', () => {
  const names = ['2026-11-30-streams.md', '2026-11-26-create-and-exec.md', '2026-11-21-create-and-exec.md'];
  assert.equal(newestPage('create-and-exec', names), names[1]);
  assert.throws(() => newestPage('create-and-exec', names.slice(0, 1)), /run the bench first/);
});

test('ratios are of the fastest rounds that a page has', () => {
  assert.deepEqual([...ratiosOf(readPage(page([60, 80])))], [[key, 1.5]]);
});

test('what takes more than so many times of what it took beside runc is told, however fast the machine is', () => {
  const before = ratiosOf(readPage(page([60])));
  const now = (runcMs: number, skerryMs: number) =>
    ratiosOf(
      new Map([
        [
          'Create to first output',
          new Map([
            ['runc', { min: runcMs }],
            ['skerry (runc)', { min: skerryMs }],
            ['skerry (new)', { min: 1000 * skerryMs }],
          ]),
        ],
      ]),
    );
  assert.deepEqual(slower(before, now(10, 29), 2), []);
  assert.deepEqual(slower(before, now(400, 1199), 2), []);
  assert.deepEqual(slower(before, now(10, 31), 2), [key]);
});
