import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { newMemberId } from '../ids.ts';
import { memberDir, removeDirsOfGone, removeMemberDirs } from './member-dirs.ts';

test('what servers had for themselves that are gone goes, and no more', async () => {
  const dataDir = await mkdtemp(join(tmpdir(), 'skerry-members-'));
  try {
    const [gone, living] = [newMemberId(), newMemberId()];
    for (const member of [gone, living]) await mkdir(memberDir(dataDir, member), { recursive: true });
    await writeFile(join(memberDir(dataDir, gone), 'file'), 'of a server that was killed');
    const all = dirname(memberDir(dataDir, gone));
    await mkdir(join(all, 'lost+found'));
    await removeDirsOfGone(dataDir, (member) => member === living, assert.ifError);
    assert.deepEqual((await readdir(all)).sort(), ['lost+found', living].sort());
    await removeMemberDirs(dataDir);
    await removeMemberDirs(dataDir);
    await removeDirsOfGone(dataDir, () => false, assert.ifError);
    assert.deepEqual(await readdir(dataDir), []);
  } finally {
    await rm(dataDir, { recursive: true, force: true });
  }
});
