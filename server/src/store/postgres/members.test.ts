/** Whether a server that keeps sandboxes under another lives, as the database says it. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { newMemberId } from '../../ids.ts';
import { eventually } from '../../sandboxes/testing/domain.ts';
import { openMemberStore, openStore } from '../store.ts';
import { noPostgres, TestPostgres } from '../testing/postgres.ts';
import { memberLock } from './locks.ts';

describe('servers under one that leads', { skip: noPostgres }, () => {
  let postgres: TestPostgres;
  let dataDir: string;
  before(async () => {
    postgres = await TestPostgres.start();
    dataDir = mkdtempSync(join(tmpdir(), 'skerry-members-'));
  });
  after(async () => {
    await postgres.stop();
    rmSync(dataDir, { recursive: true, force: true });
  });

  test('live for as long as they have their lock, and cannot have it back once the one that leads has it', async () => {
    const url = postgres.createDatabase('members');
    assert.throws(() => openMemberStore(dataDir, url, '', memberLock(6)), /schema_version/, 'nobody led yet');
    const leader = openStore(dataDir, url);
    const [one, two] = [newMemberId(), newMemberId()];
    const member = openMemberStore(dataDir, url, '', memberLock(7));
    member.members.put({ id: one, lockKey: 7, place: 'here', sinceMs: 1 });
    member.members.put({ id: two, lockKey: 2 ** 31 - 1, place: '', sinceMs: 2 });
    const all = () => leader.members.all().map(({ id, lives, place }) => ({ id, lives, place }));
    assert.deepEqual(all(), [
      { id: one, lives: true, place: 'here' },
      { id: two, lives: false, place: '' },
    ]);
    member.members.put({ id: one, lockKey: 7, place: 'there', sinceMs: 3 });
    assert.equal(all()[0]?.place, 'there');
    assert.equal(leader.members.takeLock(7), false);
    member.close();
    await eventually(() => all()[0]?.lives === false);
    assert.equal(leader.members.takeLock(7), true);
    assert.equal(all()[0]?.lives, true, 'it is taken, whoever has it');
    assert.throws(() => openMemberStore(dataDir, url, '', memberLock(7)), { code: 'conflict' });
    const isThere = () => all().some(({ id }) => id === one);
    assert.equal(isThere(), true);
    leader.members.delete(one);
    assert.equal(isThere(), false);
    leader.database.exec('UPDATE schema_version SET version = version + 1');
    assert.throws(() => openMemberStore(dataDir, url, '', memberLock(8)), {
      code: 'conflict',
      message: /another version/,
    });
    leader.close();
  });

  test('have the same directory', () => {
    const url = postgres.createDatabase('directories');
    const other = mkdtempSync(join(tmpdir(), 'skerry-members-'));
    const leader = openStore(other, url);
    assert.throws(() => openMemberStore(dataDir, url, '', memberLock(7)), {
      code: 'conflict',
      message: /directory/,
    });
    leader.close();
    rmSync(other, { recursive: true, force: true });
  });
});
