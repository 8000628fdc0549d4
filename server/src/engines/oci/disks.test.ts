import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, rm, stat, statfs, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, beforeEach, describe, it } from 'node:test';
import { treesBinaryPath } from '../../agent/agent-binary.ts';
import { newInstanceId } from '../../ids.ts';
import { MachineRoom } from '../../platform/machine-room.ts';
import { mountsBelow } from '../../platform/mounts.ts';
import { createLogger } from '../../telemetry/logger.ts';
import { dropDisk, makeDisk } from './disk-image.ts';
import { Disks, whyNoDisks } from './disks.ts';
import { type InstanceLayout, Layout } from './layout.ts';
import { SharedRoom } from './shared-room.ts';

const MIB = 2 ** 20;
const usual = { sizeMiB: 32, files: 512 };
const treesBinary = treesBinaryPath();
const skip =
  process.getuid?.() === 0 && existsSync(treesBinary) && existsSync('/dev/loop-control')
    ? false
    : 'needs root, the program for trees and loop devices';

describe('disks', { skip }, () => {
  let scratch: string;
  let layout: Layout;
  const servers: Disks[] = [];
  before(async () => {
    scratch = await mkdtemp(join(tmpdir(), 'skerry-disks-'));
  });
  after(() => rm(scratch, { recursive: true, force: true }));
  beforeEach(async () => {
    layout = new Layout(await mkdtemp(join(scratch, 'data-')), await mkdtemp(join(scratch, 'r-')));
    for (const path of [layout.disksDir, layout.diskMountsDir, layout.instancesDir]) await mkdir(path);
  });
  afterEach(async () => {
    for (const disks of servers.splice(0)) await disks.close();
    const last = server();
    await last.adopt([], assert.fail);
    assert.deepEqual([await readdir(layout.disksDir), await mountsBelow(layout.runDir)], [[], []]);
  });

  const server = (poolSize = 0) => {
    const logger = createLogger('silent');
    const room = new SharedRoom(new MachineRoom(layout.disksDir), logger);
    const disks = new Disks({ layout, treesBinary, usual, poolSize, isStarting: () => false, room, logger });
    servers.push(disks);
    return disks;
  };
  const instance = () => layout.of(newInstanceId());
  const given = async (disks: Disks): Promise<InstanceLayout> => {
    const places = instance();
    await disks.give(places, usual);
    await disks.share(places);
    await mkdir(places.upper);
    return places;
  };
  const adopted = async (instances: readonly InstanceLayout[]) => {
    const disks = server();
    await disks.adopt(instances, assert.fail);
    return disks;
  };

  it('can be made here', async () => {
    assert.equal(await whyNoDisks(layout, treesBinary), undefined);
  });

  it('have the room and the files that were asked for, whatever the size', async () => {
    for (const sizeMiB of [16, 64, 1000, 10_240, 100_000]) {
      const places = {
        image: join(layout.disksDir, `of-${sizeMiB}`),
        target: join(layout.diskMountsDir, 'here'),
      };
      const files = sizeMiB * 16;
      await makeDisk(treesBinary, places, { sizeMiB, files });
      const { bavail, bsize, ffree } = await statfs(places.target);
      const { blocks } = await stat(places.image);
      await dropDisk(treesBinary, places);
      const room = (bavail * bsize) / MIB;
      assert.ok(room >= sizeMiB && room <= 1.05 * sizeMiB + 4, `${room} of ${sizeMiB} MiB`);
      assert.ok(ffree >= files - 16 && ffree <= 1.1 * files + 512, `${ffree} of ${files} files`);
      assert.ok(blocks * 512 < 4 * MIB, `${blocks} blocks for nothing`);
    }
  });

  it('are of an instance until they are taken, and of the next server', async () => {
    const disks = server();
    const places = await given(disks);
    await writeFile(join(places.upper, 'file'), 'mine');
    const next = await adopted([places]);
    assert.equal(await readFile(join(places.upper, 'file'), 'utf8'), 'mine');
    await next.take(places);
    await next.take(places);
    assert.deepEqual(await readdir(layout.instancesDir), []);
    assert.deepEqual(await readdir(layout.disksDir), []);
  });

  it("that are nobody's go with the next start, whatever there is of them", async () => {
    const places = await given(server());
    await writeFile(join(layout.disksDir, '0'.repeat(16)), 'never mounted');
    await mkdir(join(layout.diskMountsDir, '1'.repeat(16)));
    await rm(places.diskDir); // the link of another
    await adopted([]);
    assert.deepEqual(await readdir(layout.disksDir), []);
    assert.deepEqual(await readdir(layout.diskMountsDir), []);
  });

  it('leave alone what is no disk: files of an instance that has none, and where a strange link leads', async () => {
    const disks = server();
    const [without, strange] = [instance(), instance()];
    await mkdir(without.upper, { recursive: true });
    const elsewhere = await mkdtemp(join(scratch, 'elsewhere-'));
    await writeFile(join(elsewhere, 'file'), 'stays');
    await symlink(elsewhere, strange.diskDir);
    await disks.adopt([without, strange], assert.fail);
    await disks.take(strange);
    await disks.take(without);
    assert.equal(await readFile(join(elsewhere, 'file'), 'utf8'), 'stays');
    assert.deepEqual(await readdir(layout.instancesDir), []);
  });

  it('that cannot be made leave nothing', async () => {
    const places = instance();
    await assert.rejects(server().give(places, { sizeMiB: 2 ** 40, files: 1024 }));
    assert.deepEqual(await readdir(layout.disksDir), []);
    assert.deepEqual(await readdir(layout.instancesDir), []);
  });

  it('that nobody took go when the server closes', async () => {
    const disks = server(2);
    disks.open();
    await disks.close();
    assert.deepEqual(await readdir(layout.disksDir), []);
  });

  it('are let go of without harm to another file system, where they are not mounted', async () => {
    const size = { sizeMiB: 128, files: 512 };
    const places = { image: join(layout.disksDir, 'a'), target: join(layout.diskMountsDir, 'a') };
    await makeDisk(treesBinary, places, size);
    await writeFile(join(places.target, 'much'), Buffer.alloc(40 * MIB, 'x'));
    const within = { image: join(layout.disksDir, 'b'), target: join(places.target, 'b') };
    await mkdir(within.target);
    await dropDisk(treesBinary, within);
    await writeFile(join(places.target, 'more'), 'goes on');
    assert.equal(await readFile(join(places.target, 'more'), 'utf8'), 'goes on');
    await dropDisk(treesBinary, places);
    assert.ok(!existsSync(places.image) && !existsSync(places.target));
  });
});
