import assert from 'node:assert/strict';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { newMemberId } from '../../ids.ts';
import { Credentials } from './credentials.ts';
import { EngineFiles, madeOnce } from './engine-files.ts';

describe('files of engines that share a data directory', () => {
  let dataDir: string;
  before(async () => {
    dataDir = await mkdtemp(join(tmpdir(), 'skerry-engine-files-'));
  });
  after(() => rm(dataDir, { recursive: true }));

  it('make all know one identity, however many begin at once', async () => {
    const members = Array.from({ length: 4 }, newMemberId);
    const file = new EngineFiles(dataDir, undefined).identity;
    const opened = await Promise.all(
      members.map((member) => Credentials.open(new EngineFiles(dataDir, member).identity)),
    );
    const again = await Credentials.open(file);
    for (const each of opened) {
      assert.equal(each.serverId, again.serverId);
      assert.deepEqual(each.client, again.client);
    }
    assert.deepEqual(await readdir(dirname(file)), ['identity.json']);
  });

  it('that are made once are not there when they could not be made', async () => {
    const file = join(dataDir, 'once/file');
    await assert.rejects(
      madeOnce(file, async () => {
        throw new Error('it cannot be');
      }),
      /it cannot be/,
    );
    assert.deepEqual(await readdir(dirname(file)), []);
    assert.equal(await madeOnce(file, async () => 'first'), 'first');
    assert.equal(await madeOnce(file, async () => 'second'), 'first');
  });
});
