import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MachineRoom } from './machine-room.ts';

const full = { code: 'disk-full', message: /out of disk space for an upload: it would take/ };

test('room is given once, until it is written or given back', async () => {
  const disk = { bytes: 100, files: 10 };
  const room = new MachineRoom('unused', async () => ({ ...disk }));
  const what = 'an upload';
  const both = await Promise.allSettled([room.take({ bytes: 60, what }), room.take({ bytes: 60, what })]);
  assert.deepEqual(both.map(({ status }) => status).sort(), ['fulfilled', 'rejected']);
  await assert.rejects(room.require({ bytes: 41, what }), full);
  await room.require({ bytes: 40, what });
  const taken = both.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []))[0];
  assert.ok(taken);
  taken.wrote(50);
  disk.bytes -= 50;
  await room.require({ bytes: 40, what });
  await assert.rejects(room.require({ bytes: 41, what }), full);
  taken[Symbol.dispose]();
  taken[Symbol.dispose]();
  await room.require({ bytes: 50, what });
  await assert.rejects(room.take({ bytes: 51, what }), full);
});

test('files and directories are counted too, and what takes nothing is never refused', async () => {
  const room = new MachineRoom('unused', async () => ({ bytes: -1, files: 2 }));
  await room.require({ bytes: 0, files: 2, what: 'an upload' });
  await assert.rejects(room.require({ bytes: 0, files: 3, what: 'an upload' }), full);
});

test('a directory has the room of its file system', async () => {
  const room = new MachineRoom('/');
  await room.require({ bytes: 1, files: 1, what: 'an upload' });
  await assert.rejects(room.take({ bytes: 2 ** 60, what: 'an upload' }), full);
});

test('what sandboxes were promised is taken from them first, and what they have taken is left to them', async () => {
  const disk = { bytes: 1000, files: 10 };
  const room = new MachineRoom('unused', async () => ({ ...disk }));
  let may = 0;
  let have = 0;
  room.shareBy(async (bytes) => {
    may = bytes;
    return have;
  });
  const what = 'an upload';
  assert.equal((await room.left()).bytes, 1000);
  assert.equal(may, 750, 'a quarter is ready for who takes little');
  have = 600;
  await assert.rejects(room.take({ bytes: 401, what }), full);
  assert.equal((await room.left()).bytes, 400, 'who was refused has nothing');
  using _given = await room.take({ bytes: 300, what });
  assert.equal((await room.left()).bytes, 100);
  assert.ok(may <= 700, `they may have ${may}`);
  await assert.rejects(room.take({ bytes: 101, what }), full);
});

test('who takes little does not wait for what sandboxes may take', async () => {
  const disk = { bytes: 1000, files: 10 };
  const room = new MachineRoom('unused', async () => ({ ...disk }));
  let shared = 0;
  let have = 0;
  room.shareBy(async (bytes) => {
    shared++;
    have = Math.max(have, bytes);
    return have;
  });
  const what = 'an upload';
  await room.left();
  for (let taken = 0; taken < 25; taken++) await room.take({ bytes: 10, what });
  assert.equal(shared, 1);
  await assert.rejects(room.take({ bytes: 600, what }), full);
  disk.bytes = 100;
  await assert.rejects(room.take({ bytes: 10, what }), full);
});

test('who asks while somebody is being told is told what is left after that, all of them together', async () => {
  let looks = 0;
  const looking = Promise.withResolvers<void>();
  const room = new MachineRoom('unused', async () => {
    if (++looks === 1) await looking.promise;
    return { bytes: looks, files: 1 };
  });
  const first = room.left();
  while (looks === 0) await Promise.resolve();
  const others = [room.left(), room.left(), room.left()];
  looking.resolve();
  assert.equal((await first).bytes, 1);
  assert.deepEqual(
    (await Promise.all(others)).map(({ bytes }) => bytes),
    [2, 2, 2],
  );
  assert.equal((await room.left()).bytes, 3);
});
