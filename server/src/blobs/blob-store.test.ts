import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { type TestContext, test } from 'node:test';
import type { BlobId } from '../ids.ts';
import { MachineRoom } from '../platform/machine-room.ts';
import { createLogger } from '../telemetry/logger.ts';
import { FileBlobStore } from './blob-store.ts';

const logger = createLogger('silent');
const sha256 = (data: string): string => createHash('sha256').update(data).digest('hex');
const never = new AbortController().signal;

function setUp(t: TestContext) {
  const root = mkdtempSync(join(tmpdir(), 'skerry-blobs-'));
  t.after(() => rmSync(root, { recursive: true, force: true }));
  const clock = { ms: 1_700_000_000_000 };
  const blobs = new FileBlobStore(root, Buffer.alloc(32, 3), logger, () => clock.ms);
  return { root, blobs, clock };
}

const incoming = (root: string): string[] => readdirSync(join(root, 'incoming'));

test('content is stored under its digest, the empty one too', async (t) => {
  const { root, blobs } = setUp(t);
  for (const data of ['hello', '']) {
    assert.equal(blobs.has(sha256(data)), false);
    await blobs.putBytes(sha256(data), Buffer.from(data));
    await blobs.putBytes(sha256(data), Buffer.from(data));
    assert.equal(readFileSync(blobs.path(sha256(data)), 'utf8'), data);
  }
  await assert.rejects(blobs.putBytes(sha256('a'), Buffer.from('b')), { code: 'invalid-argument' });
  await assert.rejects(blobs.putBytes('../../etc/passwd', Buffer.from('b')), { code: 'invalid-argument' });
  assert.equal(blobs.has('../../etc/passwd'), false);
  assert.throws(() => blobs.path(sha256('b')), { code: 'not-found' });
  assert.deepEqual(incoming(root), []);
});

test('an announced upload is there once it is complete, also after a restart', async (t) => {
  const { root, blobs } = setUp(t);
  const id = blobs.announce({ sha256Hex: sha256('hello'), length: 5 });
  assert.throws(() => blobs.digestOf(id), { code: 'conflict' });
  const restarted = new FileBlobStore(root, Buffer.alloc(32, 3), logger);
  const { md5Hex } = await restarted.receive(
    id,
    Readable.from([Buffer.from('hel'), Buffer.from('lo')]),
    never,
  );
  assert.equal(md5Hex, createHash('md5').update('hello').digest('hex'));
  assert.equal(blobs.digestOf(id), sha256('hello'));
});

test('an upload of other length or content leaves nothing behind', async (t) => {
  const { root, blobs } = setUp(t);
  const id = blobs.announce({ sha256Hex: sha256('hello'), length: 5 });
  const send = (data: string) => blobs.receive(id, Readable.from([Buffer.from(data)]), never);
  await assert.rejects(send('hell'), { code: 'invalid-argument', message: /Only 4 of the announced 5/ });
  await assert.rejects(send('hello!'), { code: 'invalid-argument', message: /More than the announced 5/ });
  await assert.rejects(send('hallo'), {
    code: 'invalid-argument',
    message: /The Content-MD5 you specified did not match what we received\./,
  });
  const aborted = AbortSignal.abort();
  await assert.rejects(blobs.receive(id, Readable.from([Buffer.from('hello')]), aborted));
  assert.equal(blobs.has(sha256('hello')), false);
  assert.deepEqual(incoming(root), []);
});

test('announcements are bounded, and ids that are none lead nowhere', (t) => {
  const { blobs } = setUp(t);
  assert.throws(() => blobs.announce({ sha256Hex: 'x', length: 1 }), { code: 'invalid-argument' });
  assert.throws(() => blobs.announce({ sha256Hex: sha256(''), length: -1 }), { code: 'invalid-argument' });
  assert.throws(() => blobs.announce({ sha256Hex: sha256(''), length: 17 * 1024 ** 3 }), {
    code: 'too-large',
  });
  for (const id of ['', 'bl-', `bl-${sha256('')}`, `bl-${sha256('')}x../1`]) {
    assert.throws(() => blobs.digestOf(id as BlobId), { code: 'not-found' }, id);
  }
});

test('a URL opens its own blob for a day', (t) => {
  const { blobs, clock } = setUp(t);
  const id = blobs.announce({ sha256Hex: sha256('a'), length: 1 });
  const other = blobs.announce({ sha256Hex: sha256('b'), length: 1 });
  const url = blobs.urlPath(id);
  assert.equal(blobs.authorize(url), id);
  const refused = { code: 'permission-denied' };
  assert.throws(() => blobs.authorize(url.replace(id, other)), refused);
  assert.throws(() => blobs.authorize(url.replace(/signature=\d+/, 'signature=99999999999')), refused);
  assert.throws(() => blobs.authorize(url.replace(/signature=.*/, 'signature=')), refused);
  assert.throws(() => blobs.authorize('/blobs/'), refused);
  clock.ms += 25 * 60 * 60 * 1000;
  assert.throws(() => blobs.authorize(url), refused);
});

test('half uploads of an earlier run are removed at start', (t) => {
  const { root } = setUp(t);
  writeFileSync(join(root, 'incoming', 'left-over'), 'x');
  new FileBlobStore(root, Buffer.alloc(32, 3), logger);
  assert.deepEqual(incoming(root), []);
});

test('what the disk has no room for is refused, before its bytes come and with nothing left', async (t) => {
  const { root } = setUp(t);
  const disk = { bytes: 4, files: 100 };
  const room = new MachineRoom(root, async () => disk);
  const blobs = new FileBlobStore(root, Buffer.alloc(32, 3), logger, Date.now, room);
  const full = { code: 'disk-full' };
  const upload = { sha256Hex: sha256('hello'), length: 5 };
  await assert.rejects(blobs.requireRoom(upload), full);
  await assert.rejects(blobs.putBytes(sha256('hello'), Buffer.from('hello')), full);
  const id = blobs.announce(upload);
  await assert.rejects(blobs.receive(id, Readable.from([Buffer.from('hello')]), never), full);
  assert.deepEqual(readdirSync(join(root, 'incoming')), []);
  disk.bytes = 5;
  await blobs.receive(id, Readable.from([Buffer.from('hello')]), never);
  disk.bytes = 0;
  await blobs.requireRoom(upload); // it is there
});
