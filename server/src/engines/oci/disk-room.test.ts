import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { roomOf } from '../../platform/kept-room.ts';
import { type DiskUse, sharesOf } from './disk-room.ts';

const GIB = 2 ** 30;
const disk = (free: number, more: Partial<DiskUse> = {}): DiskUse => ({
  free,
  reserve: 0,
  pending: 0,
  ...more,
});

describe('what the disks of sandboxes may take', () => {
  it('is all that is free in them while there is room for it', () => {
    assert.deepEqual(sharesOf(100, [disk(40), disk(60)]), [40, 60]);
    assert.deepEqual(sharesOf(100, []), []);
  });

  it('is an equal share of what there is otherwise, and what one has no use for is the others', () => {
    assert.deepEqual(sharesOf(100, [disk(500), disk(500)]), [50, 50]);
    assert.deepEqual(sharesOf(100, [disk(500), disk(10), disk(500)]), [45, 10, 45]);
  });

  it('never is what is in memory of others and still needs room, nor what ext4 keeps', () => {
    assert.deepEqual(sharesOf(100, [disk(500, { pending: 60 })]), [40]);
    assert.deepEqual(sharesOf(100, [disk(500, { pending: 160 }), disk(500)]), [0, 0]);
    assert.deepEqual(sharesOf(100, [disk(50, { reserve: 20 })]), [30]);
    assert.deepEqual(sharesOf(-5, [disk(50)]), [0]);
  });

  it('leaves the server a twentieth of the disk, a gibibyte at most', () => {
    assert.equal(roomOf(200 * GIB, 400 * GIB), 199 * GIB);
    assert.equal(roomOf(100, 400), 80);
  });
});
