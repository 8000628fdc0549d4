/** What is sealed opens with its key as it was, and with nothing else; on the disk none of it can be read. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { run } from '../platform/command.ts';
import { openDirectory, sealDirectory } from './sealed-layer.ts';

const never = new AbortController().signal;
const KEY = Buffer.from('a key of the caller');

async function sealedTree(t: TestContext) {
  const directory = await mkdtemp(join(tmpdir(), 'skerry-sealed-'));
  t.after(() => rm(directory, { recursive: true, force: true }));
  const [tree, copy] = [join(directory, 'tree'), join(directory, 'copy')];
  await mkdir(join(tree, 'private'), { recursive: true });
  await writeFile(join(tree, 'private/words'), 'nobody reads this');
  await writeFile(join(tree, 'bulk'), randomBytes(1 << 20));
  await symlink('private/words', join(tree, 'link'));
  await chmod(join(tree, 'private'), 0o2750);
  await run(['cp', '-a', tree, join(directory, 'before')]);
  await sealDirectory(tree, KEY, AbortSignal.timeout(60_000));
  await mkdir(copy);
  return { tree, copy, before: join(directory, 'before'), file: join(tree, 'sealed') };
}

test('opens with its key, as it was; neither names nor content can be read without', async (t) => {
  const { tree, copy, before, file } = await sealedTree(t);
  assert.deepEqual(await readdir(tree), ['sealed']);
  const bytes = await readFile(file);
  for (const text of ['nobody reads this', 'words', 'private', KEY.toString()])
    assert.ok(!bytes.includes(text), text);
  await openDirectory(tree, KEY, copy, never);
  await run(['diff', '-r', before, copy]);
  const list = (root: string) => run(['find', root, '-printf', '%P %m %u %y %T@ %l\n']);
  assert.equal((await list(copy)).stdout, (await list(before)).stdout);
});

test('opens with no other key, and not when anything of it was changed, left out or exchanged', async (t) => {
  const { tree, copy, file } = await sealedTree(t);
  for (const other of [
    Buffer.from('a key of the callers'),
    Buffer.alloc(16),
    Buffer.concat([KEY, Buffer.alloc(1)]),
  ]) {
    await assert.rejects(openDirectory(tree, other, copy, never), { code: 'invalid-argument' });
  }
  const whole = await readFile(file);
  const broken = async (bytes: Uint8Array) => {
    await writeFile(file, bytes);
    await assert.rejects(openDirectory(tree, KEY, copy, never));
  };
  for (const length of [0, 10, 60, whole.length - 1]) await broken(whole.subarray(0, length));
  for (const at of [0, 20, 48, 60, whole.length - 1]) {
    const changed = Buffer.from(whole);
    changed.writeUInt8(changed.readUInt8(at) ^ 1, at);
    await broken(changed);
  }
  const start = 16 + 32;
  const chunk = 4 + (256 << 10) + 16;
  const [first, second] = [0, 1].map((n) => whole.subarray(start + n * chunk, start + (n + 1) * chunk));
  assert.ok(first && second);
  await broken(Buffer.concat([whole.subarray(0, start), second, first, whole.subarray(start + 2 * chunk)]));
  await broken(Buffer.concat([whole.subarray(0, start), first, whole.subarray(start + 2 * chunk)]));
});

test('can be broken off', async (t) => {
  const { tree, copy } = await sealedTree(t);
  const reason = new Error('over');
  await assert.rejects(openDirectory(tree, KEY, copy, AbortSignal.abort(reason)), reason);
});

test('opens however early tar is through with its archive, and is looked at to its end', async (t) => {
  const { tree, copy, before, file } = await sealedTree(t);
  await mkdir(join(tree, 'bin'));
  const early = join(tree, 'bin', 'tar');
  // Takes a part of what it is given and ends well.
  await writeFile(early, '#!/bin/sh\nhead -c 1000 > /dev/null\n', { mode: 0o755 });
  const path = process.env.PATH;
  t.after(() => {
    process.env.PATH = path;
  });
  process.env.PATH = `${join(tree, 'bin')}:${path}`;
  await openDirectory(tree, KEY, copy, never);
  const whole = await readFile(file);
  await writeFile(file, whole.subarray(0, whole.length - 1));
  await assert.rejects(openDirectory(tree, KEY, copy, never), { code: 'internal' });
  process.env.PATH = path;
  await writeFile(file, whole);
  await openDirectory(tree, KEY, copy, never);
  await run(['diff', '-r', before, copy]);
});
