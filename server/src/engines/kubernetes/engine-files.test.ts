import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { createLogger } from '../../telemetry/logger.ts';
import { Credentials } from './credentials.ts';
import { EngineFiles, madeOnce, removeFilesOfGone } from './engine-files.ts';

describe('files of engines that share a data directory', () => {
  let dataDir: string;
  before(async () => {
    dataDir = await mkdtemp(join(tmpdir(), 'skerry-engine-files-'));
  });
  after(() => rm(dataDir, { recursive: true }));

  it('make all know one identity, however many begin at once', async () => {
    const members = ['sv-0a', 'sv-0b', 'sv-0c', 'sv-0d'];
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

  it('of servers that are gone go, and no others, also of one that begins meanwhile', async () => {
    const own = (member: string) => new EngineFiles(dataDir, member).own;
    for (const member of ['sv-1', 'sv-2', 'sv-3']) await mkdir(own(member), { recursive: true });
    const strange = join(own('sv-1'), '..', 'lost+found');
    await mkdir(strange);
    await writeFile(join(own('sv-1'), 'file'), 'of a server that was killed');
    const living = () => new Set(['sv-2', 'sv-3']);
    await removeFilesOfGone(dataDir, living, createLogger('silent'));
    assert.deepEqual((await readdir(dirname(strange))).sort(), ['lost+found', 'sv-2', 'sv-3']);
    await new EngineFiles(dataDir, 'sv-2').removeOwn();
    await new EngineFiles(dataDir, undefined).removeOwn();
    assert.deepEqual((await readdir(dirname(strange))).sort(), ['lost+found', 'sv-3']);
  });
});
