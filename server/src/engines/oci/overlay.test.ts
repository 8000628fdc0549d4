import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { treesBinaryPath } from '../../agent/agent-binary.ts';
import { newInstanceId } from '../../ids.ts';
import { run } from '../../platform/command.ts';
import { MachineRoom } from '../../platform/machine-room.ts';
import { mountsBelow, unmountBelow } from '../../platform/mounts.ts';
import { createLogger } from '../../telemetry/logger.ts';
import { Disks } from './disks.ts';
import { Layout } from './layout.ts';
import { copyUpper, mountRootfs, moveUpper } from './overlay.ts';
import { removeInstanceFiles } from './residue.ts';
import { prepareSkeleton } from './shared-files.ts';
import { SharedRoom } from './shared-room.ts';

const scratch = await mkdtemp(join(tmpdir(), 'skerry, overlay:'));
after(async () => {
  await unmountBelow(scratch);
  await rm(scratch, { recursive: true, force: true });
});

describe('overlay', { skip: process.getuid?.() === 0 ? false : 'needs root' }, () => {
  it('mounts in paths with any characters, and whiteouts survive copy and move as layers', async () => {
    const layout = new Layout(join(scratch, 'data'), await mkdtemp(join(tmpdir(), 'sk-')));
    after(() => rm(layout.runDir, { recursive: true, force: true }));
    await prepareSkeleton(layout);
    const lower = join(scratch, 'a, b:c\\d');
    await mkdir(join(lower, 'dir'), { recursive: true });
    await writeFile(join(lower, 'dir', 'old'), 'old');
    await writeFile(join(lower, 'gone'), 'gone');

    const mount = async (layers: string[]) => {
      const places = layout.of(newInstanceId());
      for (const path of [places.rootfs, places.upper, places.work]) await mkdir(path, { recursive: true });
      await mountRootfs(layout, places, layers);
      return places;
    };
    const first = await mount([lower]);
    assert.equal(await readFile(join(first.rootfs, 'dir', 'old'), 'utf8'), 'old');
    await rm(join(first.rootfs, 'gone'));
    await rm(join(first.rootfs, 'dir'), { recursive: true });
    await mkdir(join(first.rootfs, 'dir')); // opaque in the upper directory
    await run(['ln', join(first.rootfs, 'etc', 'hosts'), join(first.rootfs, 'hard')]);
    const copy = join(scratch, 'copy');
    await copyUpper(first.upper, copy);
    assert.ok((await stat(join(copy, 'gone'))).isCharacterDevice());
    assert.deepEqual(
      (await readdir(scratch)).filter((name) => name.endsWith('.partial')),
      [],
    );
    await unmountBelow(first.dir);
    assert.deepEqual(await mountsBelow(first.dir), []);
    const moved = join(scratch, 'moved');
    await moveUpper(first.upper, moved);

    for (const layer of [copy, moved]) {
      const second = await mount([lower, layer]);
      assert.deepEqual(await readdir(join(second.rootfs, 'dir')), []);
      assert.ok(!(await readdir(second.rootfs)).includes('gone'));
      await unmountBelow(second.dir);
    }
  });

  it('mounts the layers it is given, whatever links lie about, and leaves none when the instance is removed', async () => {
    const layout = new Layout(join(scratch, 'links'), await mkdtemp(join(tmpdir(), 'sk-')));
    after(() => rm(layout.runDir, { recursive: true, force: true }));
    await prepareSkeleton(layout);
    const [right, wrong] = [join(scratch, 'right'), join(scratch, 'wrong')];
    for (const layer of [right, wrong]) {
      await mkdir(layer);
      await writeFile(join(layer, 'name'), layer);
    }
    // As if two directories had the same hash, from which names were made once.
    await mkdir(layout.formerLinksDir, { recursive: true });
    const hash = createHash('sha256').update(right).digest('hex').slice(0, 10);
    await symlink(wrong, join(layout.formerLinksDir, hash));
    const before = await readdir(layout.runDir, { recursive: true });
    const places = layout.of(newInstanceId());
    for (const path of [places.rootfs, places.upper, places.work]) await mkdir(path, { recursive: true });
    await mountRootfs(layout, places, [right]);
    assert.equal(await readFile(join(places.rootfs, 'name'), 'utf8'), right);
    await unmountBelow(places.dir);
    const treesBinary = treesBinaryPath();
    const logger = createLogger('silent');
    await removeInstanceFiles(
      places,
      new Disks({
        ...{ layout, treesBinary, usual: undefined, poolSize: 0, isStarting: () => false, logger },
        room: new SharedRoom(new MachineRoom(layout.disksDir), logger),
      }),
    );
    assert.deepEqual(
      (await readdir(layout.runDir, { recursive: true })).filter((name) => name !== 't'),
      before,
    );
  });

  it('refuses more layers than mount options can name', async () => {
    const layout = new Layout(join(scratch, 'data'), '/run/x');
    const layers = Array.from({ length: 301 }, (_, i) => `/l/${i}`);
    await assert.rejects(mountRootfs(layout, layout.of(newInstanceId()), layers), {
      code: 'invalid-argument',
    });
  });
});

describe('layout', () => {
  it('tells servers apart by their data directory and bounds socket paths', () => {
    assert.notEqual(new Layout('/a', '/run/x').instance, new Layout('/b', '/run/x').instance);
    assert.match(new Layout('/a/', '/run/x').instance, /^[0-9a-f]{8}$/);
    assert.equal(new Layout('/a/', '/run/x').instance, new Layout('/a', '/run/y').instance);
    assert.throws(() => new Layout('/a', `/${'x'.repeat(70)}`), { code: 'invalid-argument' });
  });
});
