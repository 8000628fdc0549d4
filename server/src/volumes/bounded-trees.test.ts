/** Working trees on disks of their own: they are full for who writes in them and for nobody else, and outlive server and machine. */
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { chmod, link, mkdir, rm, statfs, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { treesBinaryPath } from '../agent/agent-binary.ts';
import { makeDisk } from '../engines/oci/disk-image.ts';
import { noFaultPoint } from '../platform/fault-points.ts';
import { mountsBelow, unmountBelow } from '../platform/mounts.ts';
import { openTestDisks, TEST_DISK } from './testing/test-disks.ts';
import { VolumeSetting } from './testing/volume-setting.ts';

const skip =
  process.getuid?.() === 0 && existsSync('/dev/loop-control') ? false : 'needs root and loop devices';
const MIB = 2 ** 20;

async function open(t: TestContext, root = mkdtempSync(join(tmpdir(), 'skerry-bounded-'))) {
  const disks = await openTestDisks(root);
  const setting = new VolumeSetting(root, noFaultPoint, disks);
  t.after(async () => {
    await unmountBelow(root);
    rmSync(root, { recursive: true, force: true });
  });
  return { root, disks, setting };
}

/** Writes until there is no room. @returns MiB */
async function fill(path: string): Promise<number> {
  for (let mib = 0; ; mib++) {
    try {
      await writeFile(path, Buffer.alloc(MIB, mib + 1), { flag: 'a', flush: true });
    } catch (error) {
      assert.equal((error as NodeJS.ErrnoException).code, 'ENOSPC');
      return mib;
    }
  }
}

test('a full one is full for who writes in it; what is there becomes a version, and with files gone there is room', {
  skip,
}, async (t) => {
  const { setting, disks } = await open(t);
  const [writer, other] = [await setting.attach(), await setting.attach()];
  await writeFile(writer.at('small'), 'small');
  const full = await fill(writer.at('large'));
  assert.ok(full >= 0.9 * TEST_DISK.sizeMiB && full <= 1.1 * TEST_DISK.sizeMiB, `${full} MiB`);
  await writeFile(other.at('others'), Buffer.alloc(8 * MIB, 'o'));
  await setting.mounts.commit(setting.volume);
  assert.deepEqual((await setting.paths()).sort(), ['large', 'others', 'small']);
  await rm(writer.at('large'));
  assert.ok((await fill(writer.at('again'))) >= full - 1);
  await rm(writer.at('again'));
  for (const { task } of [writer, other]) await setting.mounts.detach(task, true);
  assert.deepEqual((await setting.paths()).sort(), ['others', 'small']);
  assert.deepEqual(await disks.kept.names(), []);
  await setting.close();
});

test('files are bounded in number', { skip }, async (t) => {
  const { setting } = await open(t);
  const { at, task } = await setting.attach();
  let made = 0;
  const make = async () => {
    for (; ; made++) await writeFile(at(`f${made}`), '');
  };
  await assert.rejects(make(), { code: 'ENOSPC' });
  assert.ok(made >= TEST_DISK.files - 16 && made <= 1.3 * TEST_DISK.files, `${made} files`);
  await setting.mounts.detach(task, true);
  assert.equal((await setting.paths()).length, made);
  await setting.close();
});

test('the end takes files of several names, and what a removal left', { skip }, async (t) => {
  const { setting } = await open(t);
  const first = await setting.attach();
  await mkdir(first.at('dir'));
  await writeFile(first.at('dir/one'), 'one');
  await link(first.at('dir/one'), first.at('dir/two'));
  await setting.mounts.detach(first.task, true);
  const second = await setting.attach();
  await rm(second.at('dir'), { recursive: true });
  await mkdir(second.at('dir'));
  await writeFile(second.at('dir/three'), 'three');
  await setting.mounts.detach(second.task, true);
  assert.deepEqual((await setting.paths()).sort(), ['dir', 'dir/three']);
  await setting.close();
});

test('outlives the server, and the machine', { skip }, async (t) => {
  const { root, setting } = await open(t);
  const { task, at } = await setting.attach();
  await writeFile(at('before'), 'before', { flush: true });
  await setting.close();

  const next = await open(t, root);
  await next.setting.mounts.recover(new Set([task]));
  await writeFile(at('later'), 'later', { flush: true });
  await next.setting.mounts.commit(next.setting.volume);
  assert.deepEqual((await next.setting.paths()).sort(), ['before', 'later']);
  await writeFile(at('last'), 'last', { flush: true });
  await next.setting.close();

  await unmountBelow(root); // as a reboot does
  const last = await open(t, root);
  await last.setting.mounts.recover(new Set());
  assert.deepEqual((await last.setting.paths()).sort(), ['before', 'last', 'later']);
  assert.deepEqual(await last.disks.kept.names(), []);
  assert.deepEqual(await mountsBelow(root), []);
  await last.setting.close();
});

test('a tree of an earlier version, which had no disk, and a disk of nobody', { skip }, async (t) => {
  const root = mkdtempSync(join(tmpdir(), 'skerry-bounded-'));
  const earlier = new VolumeSetting(root);
  const { at } = await earlier.attach();
  await writeFile(at('file'), 'file');
  await earlier.close();
  const { setting, disks } = await open(t, root);
  await disks.kept.make('vm-nobody', TEST_DISK);
  await setting.mounts.recover(new Set());
  assert.deepEqual(await setting.paths(), ['file']);
  assert.deepEqual(await disks.kept.names(), []);
  assert.deepEqual(await mountsBelow(root), []);
  await setting.close();
});

test('no version is made that would take what of the disk is the server’s; what was written waits for room', {
  skip,
}, async (t) => {
  const small = mkdtempSync(join(tmpdir(), 'skerry-small-'));
  t.after(async () => {
    await unmountBelow(small);
    rmSync(small, { recursive: true, force: true });
  });
  const places = { image: join(small, 'image'), target: join(small, 'disk') };
  await makeDisk(treesBinaryPath(), places, { sizeMiB: 200, files: 4096 });
  const { setting } = await open(t, join(places.target, 'data'));
  const { task, at } = await setting.attach();
  await writeFile(at('file'), Buffer.alloc(16 * MIB, 'f'), { flush: true });
  const { bavail, bsize } = await statfs(places.target);
  const filler = join(places.target, 'filler');
  await writeFile(filler, Buffer.alloc(bavail * bsize - 24 * MIB), { flush: true });
  await assert.rejects(setting.mounts.commit(setting.volume), { code: 'disk-full' });
  await setting.mounts.detach(task, true);
  assert.deepEqual(await setting.paths(), []);
  const { bavail: left } = await statfs(places.target);
  assert.ok(left * bsize > 16 * MIB, 'it would have found room');
  await rm(filler);
  await setting.mounts.sweep();
  assert.deepEqual(await setting.paths(), ['file']);
  await setting.close();
});

test('a directory that was made anew hides what was in it, though ext4 gives it the number of the one before', {
  skip,
}, async (t) => {
  const { setting } = await open(t);
  const first = await setting.attach();
  for (const name of ['dir', 'other']) await mkdir(first.at(name));
  for (const path of ['dir/old', 'other/old']) await writeFile(first.at(path), '');
  await setting.mounts.detach(first.task, true);
  const { task, at } = await setting.attach();
  for (const name of ['dir', 'other']) await chmod(at(name), 0o700); // from now on they are in the writable layer
  await setting.mounts.settle(setting.volume);
  await rm(at('dir'), { recursive: true });
  await mkdir(at('dir'), { mode: 0o700 });
  for (const path of ['dir/new', 'other/new']) await writeFile(at(path), '');
  await setting.mounts.settle(setting.volume);
  assert.deepEqual(await setting.paths(), ['dir', 'dir/new', 'other', 'other/new', 'other/old']);
  await setting.mounts.detach(task, true);
  await setting.close();
});
