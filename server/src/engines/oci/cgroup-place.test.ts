import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { cgroupPlace, delegationArguments, isDelegated } from './cgroup-place.ts';

const scratch = await mkdtemp(join(tmpdir(), 'skerry-cgroup-place-'));
after(() => rm(scratch, { recursive: true, force: true }));

describe('the place of the sandboxes in the cgroup tree', () => {
  it("is a unit of systemd's under version 2, and else a group at the root", async () => {
    assert.equal(isDelegated(scratch, true), false, 'version 1');
    await writeFile(join(scratch, 'cgroup.controllers'), 'cpu memory pids\n');
    assert.equal(isDelegated(scratch, true), true, 'version 2 with systemd');
    assert.equal(isDelegated(scratch, false), false, 'version 2 without systemd');
    assert.equal(cgroupPlace('0a1b2c3d', true), '/system.slice/skerry-0a1b2c3d-sandboxes.service');
    assert.equal(cgroupPlace('0a1b2c3d', false), '/skerry-0a1b2c3d');
  });

  it('is delegated, bounds processes alone, and is stopped after the server', () => {
    const words = delegationArguments('0a1b2c3d', 29_491);
    for (const word of [
      '--property=Delegate=yes',
      '--property=TasksMax=29491',
      '--property=OOMPolicy=continue',
    ])
      assert.ok(words.includes(word), word);
    assert.ok(words.includes('--property=Before=skerry-0a1b2c3d.service'), words.join('\n'));
  });
});
