/** Volumes in sandboxes, over real overlays: what is written in a working tree and what becomes of it. The test writes as a sandbox would. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import {
  chmod,
  chown,
  link,
  lstat,
  mkdir,
  readdir,
  readFile,
  rename,
  rm,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { newTaskId } from '../ids.ts';
import { run } from '../platform/command.ts';
import type { FaultPoint } from '../platform/fault-points.ts';
import { unmountBelow } from '../platform/mounts.ts';
import { type AttachedTree, VolumeSetting } from './testing/volume-setting.ts';

const skip = process.getuid?.() === 0 ? false : 'mounting needs root';

function open(t: TestContext, faultPoint?: FaultPoint): VolumeSetting {
  const setting = new VolumeSetting(mkdtempSync(join(tmpdir(), 'skerry-mounted-')), faultPoint);
  t.after(async () => {
    await setting.close();
    await unmountBelow(setting.root);
    rmSync(setting.root, { recursive: true, force: true });
  });
  return setting;
}

describe('a volume in sandboxes', { skip }, () => {
  test('has each change in one version, and in no second one', async (t) => {
    const setting = open(t);
    const { task, at } = await setting.attach();
    const settle = () => setting.mounts.settle(setting.volume);
    await mkdir(at('dir/inner'), { recursive: true });
    await writeFile(at('dir/file'), 'one');
    await link(at('dir/file'), at('twin'));
    await symlink('dir/file', at('link'));
    await settle();
    const first = setting.number;
    assert.deepEqual(await setting.paths(), ['dir', 'dir/file', 'dir/inner', 'link', 'twin']);
    await settle();
    assert.equal(setting.number, first, 'nothing changed');

    await rename(at('dir'), at('moved'));
    await rm(at('twin'));
    await settle();
    assert.deepEqual(await setting.paths(), ['link', 'moved', 'moved/file', 'moved/inner']);
    await rm(at('moved'), { recursive: true });
    await mkdir(at('moved'));
    await writeFile(at('moved/new'), 'new');
    await settle();
    assert.deepEqual(await setting.paths(), ['link', 'moved', 'moved/new']);
    const last = setting.number;
    await setting.mounts.detach(task, true);
    assert.equal(setting.number, last, 'its end changed nothing');
    assert.deepEqual(await readdir(join(setting.root, 'volumes', 'mounted')), []);
  });

  test('hides what is below of a directory that was made anew', async (t) => {
    const setting = open(t);
    const first = await setting.attach();
    await mkdir(first.at('dir/deep'), { recursive: true });
    for (const name of ['a', 'b', 'deep/c']) await writeFile(first.at(`dir/${name}`), name);
    await setting.mounts.detach(first.task, true);
    const { task, at } = await setting.attach();
    await rm(at('dir'), { recursive: true });
    await mkdir(at('dir'));
    await writeFile(at('dir/b'), 'other');
    await setting.mounts.settle(setting.volume);
    assert.deepEqual(await setting.paths(), ['dir', 'dir/b']);
    await rm(at('dir/b'));
    await setting.mounts.detach(task, true);
    assert.deepEqual(await setting.paths(), ['dir']);
  });

  test('keeps names of all kinds of bytes', async (t) => {
    const setting = open(t);
    const { task, at } = await setting.attach();
    const names = ['with\nline', 'with\ttabs\t', ' ', '%s', 'ünïcode', `${'x'.repeat(255)}`, '.hidden'];
    for (const name of names) await writeFile(at(name), name);
    await writeFile(Buffer.concat([Buffer.from(at('')), Buffer.from([0x2f, 0xff, 0xfe])]), 'bytes');
    await setting.mounts.detach(task, true);
    const again = await setting.attach();
    assert.deepEqual((await readdir(again.at(''))).length, names.length + 1);
    for (const name of names) assert.equal(await readFile(again.at(name), 'utf8'), name);
    assert.ok((await readdir(again.at(''), { encoding: 'buffer' })).some((name) => name[0] === 0xff));
  });

  test('brings what others wrote, also when versions were merged meanwhile, and keeps what is written just then', async (t) => {
    const setting = open(t);
    const writer = await setting.attach();
    await mkdir(writer.at('dir'));
    await writeFile(writer.at('dir/changed'), 'before');
    await writeFile(writer.at('dir/doomed'), 'doomed');
    await writeFile(writer.at('becomes-dir'), 'file');
    const reader = await setting.attach();
    await writeFile(writer.at('dir/changed'), 'after');
    await rm(writer.at('dir/doomed'));
    await rm(writer.at('becomes-dir'));
    await mkdir(writer.at('becomes-dir'));
    await writeFile(writer.at('becomes-dir/x'), 'x');
    for (let number = 0; number < 40; number++) {
      await writeFile(writer.at(`f${number}`), String(number));
      await setting.mounts.settle(setting.volume);
    }
    assert.ok(setting.files.version(setting.volume).layers.length < 40, 'they were merged');
    await setting.files.sweep(Date.now() + 2 * 60 * 60_000); // what nobody needs any more is gone
    await writeFile(reader.at('own'), 'own');
    assert.equal(await readFile(reader.at('dir/changed'), 'utf8'), 'before');
    await setting.mounts.reload(reader.task);
    assert.equal(await readFile(reader.at('dir/changed'), 'utf8'), 'after');
    assert.deepEqual(await readdir(reader.at('dir')), ['changed']);
    assert.equal(await readFile(reader.at('becomes-dir/x'), 'utf8'), 'x');
    assert.equal(await readFile(reader.at('f39'), 'utf8'), '39');
    const { number } = setting;
    await setting.mounts.settle(setting.volume);
    assert.equal(setting.number, number, 'what came in is no change of its own');
    assert.equal(await setting.text('own'), 'own');
    await setting.mounts.reload(writer.task);
    assert.equal(await readFile(writer.at('own'), 'utf8'), 'own');
  });

  test('finishes a reload that was broken off, and takes nothing of it for a change of the sandbox', async (t) => {
    let broken = false;
    const setting = open(t, (name) => {
      if (broken && name === 'volume.reload.before-row') throw new Error('broken off');
    });
    const writer = await setting.attach();
    const reader = await setting.attach();
    await writeFile(writer.at('file'), 'one');
    await writeFile(writer.at('doomed'), 'doomed');
    await setting.mounts.reload(reader.task);
    await writeFile(writer.at('file'), 'two');
    await rm(writer.at('doomed'));
    await mkdir(writer.at('dir'));
    broken = true;
    await assert.rejects(setting.mounts.reload(reader.task), /broken off/);
    await writeFile(reader.at('.skerry-0123456789abcdef'), 'not whole');
    await writeFile(reader.at('own'), 'own');
    await writeFile(writer.at('file'), 'three');
    broken = false;
    await setting.mounts.settle(setting.volume);
    assert.deepEqual(await setting.paths(), ['dir', 'file', 'own']);
    assert.equal(await setting.text('file'), 'three', 'no old one came back');
    assert.equal(await readFile(reader.at('file'), 'utf8'), 'two');
    assert.deepEqual((await readdir(reader.at(''))).sort(), ['dir', 'file', 'own']);
    await setting.mounts.reload(reader.task);
    assert.equal(await readFile(reader.at('file'), 'utf8'), 'three');
  });

  test('takes away of a directory only what its remover knew', async (t) => {
    const setting = open(t);
    const one = await setting.attach();
    await mkdir(one.at('dir/sub'), { recursive: true });
    await writeFile(one.at('dir/sub/old'), 'old');
    await setting.mounts.settle(setting.volume);
    const two = await setting.attach();
    await writeFile(two.at('dir/sub/new'), 'new');
    await setting.mounts.settle(setting.volume);
    await rm(one.at('dir'), { recursive: true });
    await setting.mounts.detach(one.task, true);
    assert.deepEqual(await setting.paths(), ['dir', 'dir/sub', 'dir/sub/new']);
  });

  test('leaves a file that is written to alone in the background, and has it once somebody looks', async (t) => {
    const setting = open(t);
    const { task, at } = await setting.attach();
    await mkdir(at('dir'));
    await writeFile(at('dir/file'), 'one');
    await setting.mounts.sweep();
    assert.deepEqual(await setting.paths(), ['dir']);
    await setting.mounts.settle(setting.volume);
    assert.equal(await setting.text('dir/file'), 'one');
    await writeFile(at('dir/file'), 'two');
    await setting.mounts.sweep();
    await rm(at('dir/file'));
    await setting.mounts.settle(setting.volume);
    assert.deepEqual(await setting.paths(), ['dir'], 'also when it went before it was looked at');
    await writeFile(at('last'), 'last');
    await setting.mounts.sweep();
    await setting.mounts.detach(task, true);
    assert.deepEqual(await setting.paths(), ['dir', 'last']);
  });

  test('goes on after a restart with what a sandbox left that did not live to it', async (t) => {
    const setting = open(t);
    const { task, at } = await setting.attach();
    await writeFile(at('left'), 'left');
    const other = await setting.attach();
    await unmountBelow(join(setting.root, 'v')); // as a reboot does
    await setting.mounts.recover(new Set());
    assert.deepEqual(await setting.paths(), ['left']);
    assert.deepEqual(await readdir(join(setting.root, 'volumes', 'mounted')), []);
    for (const gone of [task, other.task]) await setting.mounts.detach(gone, true);
  });

  test('belongs in a sandbox to its own ids, and in versions to those that it knows them by', async (t) => {
    const setting = open(t);
    const FIRST = 0x7f000000;
    const others = await setting.attach();
    await mkdir(others.at('dir'));
    await writeFile(others.at('dir/file'), 'from others\n');
    const own = await setting.attach(FIRST);
    /** As root of the sandbox that has these ids. */
    const inside = (...argv: [string, ...string[]]) =>
      run(['setpriv', `--reuid=${FIRST}`, `--regid=${FIRST}`, '--clear-groups', ...argv], {
        cwd: own.at(''),
      });
    const ownersOf = async (tree: AttachedTree, ...paths: string[]) => {
      const all = await Promise.all(paths.map((path) => lstat(tree.at(path))));
      return all.map(({ uid, gid }) => [uid, gid]);
    };
    await inside('sh', '-c', 'echo more >> dir/file; mkdir made; echo x > made/x; ln -s x made/link');
    await setting.mounts.reload(others.task);
    const paths = ['dir/file', 'made', 'made/x', 'made/link'] as const;
    assert.deepEqual(await ownersOf(own, '', ...paths), Array(5).fill([FIRST, FIRST]));
    assert.deepEqual(await ownersOf(others, '', ...paths), Array(5).fill([0, 0]));
    assert.equal(await setting.text('dir/file'), 'from others\nmore\n');

    await mkdir(others.at('new/deep'), { recursive: true });
    for (const name of ['plain', 'owned', 'beyond']) await writeFile(others.at(`new/${name}`), name);
    await symlink('plain', others.at('new/link'));
    await chown(others.at('new/deep'), 7, 8);
    await chown(others.at('new/owned'), 1000, 1001);
    await chmod(others.at('new/owned'), 0o4750);
    await chown(others.at('new/beyond'), 70_000, 0); // there is no such id in the other one
    await rm(others.at('made/x'));
    await setting.mounts.reload(own.task);
    assert.deepEqual(
      await ownersOf(own, 'new', 'new/plain', 'new/link', 'new/deep', 'new/owned', 'new/beyond'),
      [
        [FIRST, FIRST],
        [FIRST, FIRST],
        [FIRST, FIRST],
        [FIRST + 7, FIRST + 8],
        [FIRST + 1000, FIRST + 1001],
        [FIRST + 65_534, FIRST],
      ],
    );
    assert.equal((await lstat(own.at('new/owned'))).mode & 0o7777, 0o4750);
    const { number } = setting;
    await setting.mounts.settle(setting.volume);
    assert.equal(setting.number, number, 'what came in is no change of its own');
    await inside('sh', '-c', 'echo y > new/y; rm new/plain; rm -r made');
    await setting.mounts.detach(own.task, true);
    assert.deepEqual(
      (await setting.paths()).filter((path) => /^(new|made)/.test(path)),
      ['new', 'new/beyond', 'new/deep', 'new/link', 'new/owned', 'new/y'],
    );

    const spec = { volumeId: setting.volume, target: '/data', readOnly: false, subPath: 'new/sub/path' };
    const task = newTaskId();
    const [below] = await setting.mounts.attach(task, [spec], FIRST + 65_536);
    const seen = await lstat(join(setting.root, 'v', below?.source.tree ?? '', 'new/sub/path'));
    assert.equal(seen.uid, FIRST + 65_536);
    await setting.mounts.detach(task, true);
    await setting.mounts.reload(others.task);
    assert.deepEqual(await ownersOf(others, 'new/sub', 'new/sub/path'), [
      [0, 0],
      [0, 0],
    ]);
  });

  test('fails to be made where its sub-path is no directory, and leaves nothing', async (t) => {
    const setting = open(t);
    const { task, at } = await setting.attach();
    await symlink('/etc', at('etc'));
    await writeFile(at('file'), '');
    await setting.mounts.detach(task, true);
    for (const subPath of ['etc', 'etc/x', 'file']) {
      const spec = { volumeId: setting.volume, target: '/data', readOnly: false, subPath };
      await assert.rejects(setting.mounts.attach(newTaskId(), [spec]), { code: 'invalid-argument' });
    }
    assert.deepEqual(await readdir(join(setting.root, 'volumes', 'mounted')), []);
    const twice = (target: string) => ({ volumeId: setting.volume, target, readOnly: false, subPath: '' });
    assert.throws(() => setting.mounts.check([twice('/a'), twice('/a')]), { code: 'invalid-argument' });
    assert.throws(() => setting.mounts.check([twice('/proc')]), { code: 'invalid-argument' });
    setting.mounts.check([twice('/a'), twice('/b')]);
    const attached = await setting.mounts.attach(newTaskId(), [twice('/a/b'), twice('/a')]);
    assert.deepEqual(
      attached.map(({ target }) => target),
      ['/a', '/a/b'],
    );
    assert.equal(attached[0]?.source.tree, attached[1]?.source.tree);
  });
});
