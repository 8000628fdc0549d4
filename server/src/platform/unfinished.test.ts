import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { run } from './command.ts';
import { emptied, removeOutOfSight } from './unfinished.ts';

const skip = process.getuid?.() === 0 ? false : 'what cannot be removed is made by a mount, which needs root';

const rethrow = (error: unknown): never => {
  throw error;
};

function setUp(t: TestContext) {
  const root = mkdtempSync(join(tmpdir(), 'skerry-unfinished-'));
  const mounts: string[] = [];
  t.after(async () => {
    for (const path of mounts) await run(['umount', path]);
    rmSync(root, { recursive: true, force: true });
  });
  const [layers, temporary] = [join(root, 'layers'), join(root, 'temporary')];
  for (const path of [layers, temporary]) mkdirSync(path);
  return {
    layers,
    temporary,
    /** Makes a directory that can be neither removed nor renamed until the test ends. */
    async stuck(path: string): Promise<void> {
      mkdirSync(path);
      await run(['mount', '-t', 'tmpfs', 'stuck', path]);
      mounts.push(path);
    },
  };
}

test('a directory is made, and emptied when it is there', (t) => {
  const { temporary } = setUp(t);
  writeFileSync(join(temporary, 'left'), '');
  emptied(temporary, rethrow);
  assert.deepEqual(readdirSync(temporary), []);
  emptied(join(temporary, 'new', 'deep'), rethrow);
  assert.ok(existsSync(join(temporary, 'new', 'deep')));
});

test('what cannot be removed is told and stays', { skip }, async (t) => {
  const { temporary, stuck } = setUp(t);
  await stuck(join(temporary, 'stuck'));
  const failures: unknown[] = [];
  emptied(temporary, (error) => failures.push(error));
  assert.equal(failures.length, 1);
  assert.deepEqual(readdirSync(temporary), ['stuck']);
});

test('one that cannot be removed holds up no other', { skip }, async (t) => {
  const { layers, temporary, stuck } = setUp(t);
  await stuck(join(layers, 'b'));
  for (const name of ['a', 'c']) mkdirSync(join(layers, name, 'inner'), { recursive: true });
  const failed: string[] = [];
  const hidden = await removeOutOfSight(
    ['a', 'b', 'c'].map((name) => join(layers, name)),
    temporary,
    (path) => failed.push(path),
  );
  assert.deepEqual(hidden, [join(layers, 'a'), join(layers, 'c')]);
  assert.deepEqual(failed, [join(layers, 'b')]);
  assert.deepEqual([readdirSync(layers), readdirSync(temporary)], [['b'], []]);
});
