/** The command as docs/scale.md has it. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { run } from '../../server/src/platform/command.ts';

const main = join(import.meta.dirname, 'main.ts');
const command = (...args: string[]) => run([process.execPath, main, ...args], { okCodes: [0, 1] });
/** The cells of a table's lines, without its head, and without the name of the trace. */
const cells = (table: string) =>
  table
    .trim()
    .split('\n')
    .slice(2)
    .map((line) => line.split(' | ').slice(1));

test('a trace that was written and is read again has the same outcome', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'simulate-'));
  try {
    const file = join(directory, 'trace');
    const settings = ['--warm-pool', '64', '--machines', '4'];
    const named = await command(
      '--trace',
      'burst',
      '--per-second',
      '2',
      '--seconds',
      '60',
      '--write',
      file,
      ...settings,
    );
    const outcome = cells(named.stdout);
    assert.deepEqual(
      outcome.map(([runtime, asked]) => [runtime, asked]),
      [
        ['runc', '120'],
        ['gvisor', '120'],
      ],
    );
    assert.deepEqual(cells((await command('--trace', file, ...settings)).stdout), outcome);
    writeFileSync(file, 'no arrival');
    assert.match((await command('--trace', file)).stderr, /^Line 1 is no arrival: .*not JSON/s);
  } finally {
    rmSync(directory, { recursive: true });
  }
});

test('what it cannot do is said, and no more than that', async () => {
  for (const [args, why] of [
    [['--processors', '0'], /processors/],
    [['--runtime', 'docker'], /runtime/],
    [['--speed', '1'], /--speed/],
    [['--trace', '/none'], /no such file/],
  ] as const) {
    const { stdout, stderr } = await command(...args);
    assert.equal(stdout, '');
    assert.match(stderr, why);
    assert.doesNotMatch(stderr, /^\s+at /m);
  }
});
