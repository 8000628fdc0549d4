import assert from 'node:assert/strict';
import { test } from 'node:test';
import { UploadRoom } from './upload-room.ts';

const full = { code: 'disk-full', message: /out of disk space for an upload: it would take/ };

test('room is given once, until it is written or given back', async () => {
  const disk = { bytes: 100, files: 10 };
  const room = new UploadRoom('unused', async () => ({ ...disk }));
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
  const room = new UploadRoom('unused', async () => ({ bytes: -1, files: 2 }));
  await room.require({ bytes: 0, files: 2, what: 'an upload' });
  await assert.rejects(room.require({ bytes: 0, files: 3, what: 'an upload' }), full);
});

test('a directory has the room of its file system', async () => {
  const room = new UploadRoom('/');
  await room.require({ bytes: 1, files: 1, what: 'an upload' });
  await assert.rejects(room.take({ bytes: 2 ** 60, what: 'an upload' }), full);
});
