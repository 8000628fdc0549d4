/** A server that is killed at each fault point of a checkpoint, a fork, a rollback and a create that keeps for others what its image has done first: the next one has the old state or the new. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, readdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Limiter } from '../platform/limiter.ts';
import { drawn } from '../platform/testing/drawn.ts';
import { Domain, eventually, output, TEST_APP } from './testing/domain.ts';

const program = fileURLToPath(new URL('./testing/killed-copies.ts', import.meta.url));
const MOST_AT_ONCE = 3;

/** Runs a server over `root` to its end, or to the point. Gives the lines it said. */
function serve(root: string, point: string): Promise<readonly string[]> {
  return new Promise((resolve, reject) => {
    execFile(process.execPath, [program, root, point], (error, stdout, stderr) => {
      const killed = error?.signal === 'SIGKILL';
      if ((error && !killed) || killed !== (point !== ''))
        reject(new Error(`${point}: ${error?.message}\n${stderr}`));
      else resolve(stdout.trim().split('\n'));
    });
  });
}

const scratch = () => mkdtemp(join(tmpdir(), 'skerry-kill-'));

async function survives(root: string, said: readonly string[]): Promise<void> {
  await using next = await Domain.over(root, { checkpoints: true });
  await next.manager.recover();
  const sandbox = next.manager.findByName(TEST_APP, 'worker', false);
  assert.ok(sandbox, 'it goes on');
  const kept = await output(sandbox, ['cat', '/kept']);
  const expected = said.includes('rolled back')
    ? ['then']
    : said.includes('kept')
      ? ['now', 'then']
      : ['then'];
  assert.ok(expected.includes(kept.trim()), `${kept} is none of ${expected}`);

  const copies = ['copy-1', 'copy-2'].flatMap((name) => next.manager.findByName(TEST_APP, name, false) ?? []);
  const whole = copies.filter(({ state }) => state !== 'stopping');
  assert.ok(whole.length === 2 || whole.length === 0, `${whole.length} of two copies`);
  if (said.includes('forked')) assert.equal(whole.length, 2);
  for (const copy of whole) assert.equal(await output(copy, ['cat', '/kept']), 'now\n');

  const snapshots = next.manager.memorySnapshots(sandbox.id).map(({ id }) => id as string);
  if (said.includes('kept')) assert.equal(snapshots.length, 1);
  const warm = ['warm-1', 'warm-2'].flatMap((name) => next.manager.findByName(TEST_APP, name, false) ?? []);
  for (const each of warm) assert.match(await output(each, ['cat', '/done']), /^done\n/);
  assert.ok(warm.length >= said.filter((line) => line.startsWith('warm-')).length);

  const directory = join(next.dataDir, 'memory-snapshots');
  await eventually(async () => {
    const found = (await readdir(directory)).filter((name) => !/^wu-\w+$/.test(name));
    return found.sort().join() === snapshots.sort().join();
  });
  await eventually(() => next.engine.instances.size === 1 + whole.length + warm.length);
  await Promise.all(next.manager.list({ limit: 10 }).map((each) => each.terminate()));
  await sandbox.terminate();
  await eventually(async () => (await next.engine.traces()).length === 0);
  await next.running({ name: 'worker' });
}

it('a server that is killed while it keeps the memory of a sandbox, forks it, has it go back or makes one warmed up', async () => {
  const root = await scratch();
  const said = await serve(root, '');
  await survives(root, said);
  // The steps of a copy's instance are those of any start's: `kills.test.ts` has them.
  const points = [
    ...new Set(
      said.flatMap((line) => /^point (?!(?:fork|warm-up):instance\.[pbs])(.*)/.exec(line)?.[1] ?? []),
    ),
  ];
  for (const point of [
    'checkpoint:instance.checkpoint.after-files',
    ...['starting.before-store', 'running.before-store'].map((edge) => `fork:sandbox.${edge}`),
    ...['running', 'done'].map((step) => `fork:fork.${step}`),
    'warm-up:instance.checkpoint.after-files',
    ...['starting.before-store', 'running.before-store'].map((edge) => `warm-up:sandbox.${edge}`),
    'rollback:rollback.prepared',
    ...['suspended.before-store', 'running.before-store'].map((edge) => `rollback:sandbox.${edge}`),
  ])
    assert.ok(points.includes(point), `${points} has no ${point}`);
  const limiter = new Limiter(MOST_AT_ONCE);
  await Promise.all(
    drawn(points).map((point) =>
      limiter.run(async () => {
        const at = await scratch();
        await survives(at, await serve(at, point)).catch((cause: unknown) => {
          throw new Error(`killed at ${point}`, { cause });
        });
      }),
    ),
  );
});
