import assert from 'node:assert/strict';
import { test } from 'node:test';
import { lastPage, ratiosOf, slower } from './ratios.ts';
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

test('ratios are of the fastest rounds, from the newest page of creates and execs', () => {
  const pages = [
    ['2026-11-30-streams.md', () => assert.fail('another kind')],
    ['2026-11-26-create-and-exec.md', () => page([60, 80])],
    ['2026-11-21-create-and-exec.md', () => assert.fail('an older one')],
  ] as const;
  assert.deepEqual([...lastPage(pages)], [[key, 1.5]]);
  assert.throws(() => lastPage(pages.slice(0, 1)), /npm run bench/);
});

test('what takes more than so many times of what it took beside runc is told, however fast the machine is', () => {
  const before = lastPage([['2026-11-26-create-and-exec.md', () => page([60])]]);
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
