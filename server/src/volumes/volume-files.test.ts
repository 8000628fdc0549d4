/** What volumes hold, over real directories: uploads that break off, tickets that are misused, layers that are merged and collected. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import { describe, type TestContext, test } from 'node:test';
import { FileBlobStore } from '../blobs/blob-store.ts';
import type { EnvironmentId, UploadId, VolumeId } from '../ids.ts';
import { MachineRoom } from '../platform/machine-room.ts';
import { openTestStore } from '../store/testing/open-test-store.ts';
import { createLogger } from '../telemetry/logger.ts';
import { LayeredVolumeFiles } from './volume-files.ts';
import { VolumeService } from './volume-service.ts';
import { BLOCK_BYTES, type BlockFile, type MissingBlock } from './volumes.ts';

const ENVIRONMENT = 'en-test' as EnvironmentId;
const HOUR_MS = 3_600_000;
const logger = createLogger('silent');
const never = new AbortController().signal;
const sha256 = (data: Buffer | string) => createHash('sha256').update(data).digest('hex');
const skip = process.getuid?.() === 0 ? false : 'whiteouts need root';

class Setting {
  readonly directory = mkdtempSync(join(tmpdir(), 'skerry-volumes-'));
  readonly clock = { ms: Date.now() };
  /** What there is for uploads. */
  readonly room = { bytes: 2 ** 40, files: 2 ** 20 };
  /** Bytes of a volume. */
  maxBytes = 2 ** 40;
  store = openTestStore(this.directory);
  files = this.#open();

  constructor(t: TestContext) {
    t.after(() => {
      this.store.close();
      rmSync(this.directory, { recursive: true, force: true });
    });
  }

  /** As after a restart of the server. */
  restart(): void {
    this.store.close();
    this.store = openTestStore(this.directory);
    this.files = this.#open();
  }

  volume(name = 'vol'): VolumeId {
    return new VolumeService(this.store.volumes, () => this.clock.ms).create(ENVIRONMENT, name, 2, 'keep').id;
  }

  async list(id: VolumeId, path = '/'): Promise<string[]> {
    const entries = await Array.fromAsync(this.files.list(id, path, { recursive: true }));
    return entries.map((entry) => entry.path);
  }

  async read(id: VolumeId, path: string): Promise<Buffer> {
    const { place, start, length } = await this.files.range(id, path, 0, 0);
    return (await readFile(this.files.hostPath(place))).subarray(start, start + length);
  }

  /** As a client does it: asks, sends what is missing, asks again. */
  async put(id: VolumeId, contents: Readonly<Record<string, Buffer | string>>, overwrite = false) {
    const files = Object.entries(contents).map(([path, data]) => blockFile(path, Buffer.from(data)));
    const missing = await this.files.putBlocks(id, files, { overwrite });
    const receipts = new Map<string, string>();
    for (const block of missing) {
      const data = trimmed(Buffer.from(Object.values(contents)[block.file] ?? ''), block.block);
      receipts.set(sha256(data), await this.send(block, data));
    }
    if (missing.length > 0) {
      assert.deepEqual(await this.files.putBlocks(id, withReceipts(files, receipts), { overwrite }), []);
    }
    return missing;
  }

  send({ ticket }: MissingBlock, data: Buffer | AsyncIterable<Buffer>): Promise<string> {
    const opened = this.files.tickets.open(ticket);
    assert.equal(opened.kind, 'put');
    return this.files.uploads.receive(opened, Readable.from(data instanceof Buffer ? [data] : data), never);
  }

  #open(): LayeredVolumeFiles {
    return new LayeredVolumeFiles({
      directory: join(this.directory, 'volumes'),
      volumes: this.store.volumes,
      blocks: this.store.volumeBlocks,
      blobs: new FileBlobStore(join(this.directory, 'blobs'), Buffer.alloc(32, 1), logger),
      ticketKey: Buffer.alloc(32, 2),
      maxBytes: this.maxBytes,
      room: new MachineRoom('unused', async () => this.room),
      logger,
      now: () => this.clock.ms,
    });
  }
}

function trimmed(data: Buffer, block: number): Buffer {
  const bytes = data.subarray(block * BLOCK_BYTES, (block + 1) * BLOCK_BYTES);
  let end = bytes.length;
  while (end > 0 && bytes[end - 1] === 0) end--;
  return bytes.subarray(0, end);
}

const blockFile = (path: string, data: Buffer): BlockFile => ({
  path,
  size: data.length,
  mode: 0o644,
  blocks: Array.from({ length: Math.ceil(data.length / BLOCK_BYTES) }, (_, block) => ({
    sha256Hex: sha256(trimmed(data, block)),
    receipt: undefined,
  })),
});

const withReceipts = (files: readonly BlockFile[], receipts: ReadonlyMap<string, string>): BlockFile[] =>
  files.map((file) => ({
    ...file,
    blocks: file.blocks.map(({ sha256Hex }) => ({ sha256Hex, receipt: receipts.get(sha256Hex) })),
  }));

const big = (fill: string, bytes: number) => Buffer.alloc(bytes, fill);

describe('uploads', { skip }, () => {
  test('an interrupted one goes on after a restart, and nothing of it is seen before its end', async (t) => {
    const setting = new Setting(t);
    const id = setting.volume();
    const data = Buffer.concat([big('a', BLOCK_BYTES), big('b', 100)]);
    const files = [blockFile('big', data), blockFile('small', Buffer.from('small'))];
    const missing = await setting.files.putBlocks(id, files, { overwrite: false });
    assert.deepEqual(
      missing.map(({ file, block }) => [file, block]),
      [
        [0, 0],
        [0, 1],
        [1, 0],
      ],
    );
    const [first, ...rest] = missing;
    assert.ok(first);
    const receipts = new Map([[sha256(trimmed(data, 0)), await setting.send(first, trimmed(data, 0))]]);
    setting.restart();
    assert.deepEqual(await setting.list(id), []);
    const left = await setting.files.putBlocks(id, withReceipts(files, receipts), { overwrite: false });
    assert.deepEqual(
      left.map(({ file, block }) => [file, block]),
      rest.map(({ file, block }) => [file, block]),
    );
    for (const block of left) {
      const bytes = block.file === 0 ? trimmed(data, block.block) : Buffer.from('small');
      receipts.set(sha256(bytes), await setting.send(block, bytes));
    }
    assert.deepEqual(
      await setting.files.putBlocks(id, withReceipts(files, receipts), { overwrite: false }),
      [],
    );
    assert.deepEqual(await setting.list(id), ['big', 'small']);
    assert.ok((await setting.read(id, 'big')).equals(data));
    assert.deepEqual(readdirSync(join(setting.directory, 'volumes/uploads')), []);
  });

  test('a server that dies while a batch gets its places has lost no block, and writes to none that has one', async (t) => {
    const setting = new Setting(t);
    const id = setting.volume();
    const files = [blockFile('one', Buffer.from('first')), blockFile('two', Buffer.from('second'))];
    const missing = await setting.files.putBlocks(id, files, { overwrite: false });
    const [first, second] = missing;
    assert.ok(first && second);
    const receipts = new Map([
      [sha256('first'), await setting.send(first, Buffer.from('first'))],
      [sha256('second'), await setting.send(second, Buffer.from('second'))],
    ]);
    // What of the batch was in a layer that no version has.
    const [upload] = readdirSync(join(setting.directory, 'volumes/uploads')) as UploadId[];
    assert.ok(upload);
    const left = join(setting.directory, 'left');
    await setting.files.uploads.place(upload, 0, left);
    setting.restart();
    await assert.rejects(setting.send(first, Buffer.from('other')), { code: 'not-found' });
    assert.equal(readFileSync(left, 'utf8'), 'first');
    // Also once more, by a client that missed the answer.
    for (const overwrite of [false, true]) {
      assert.deepEqual(await setting.files.putBlocks(id, withReceipts(files, receipts), { overwrite }), []);
      assert.deepEqual([await setting.read(id, 'one'), await setting.read(id, 'two')].map(String), [
        'first',
        'second',
      ]);
    }
    assert.deepEqual(readdirSync(join(setting.directory, 'volumes/uploads')), []);
  });

  test('a block that is still being sent holds up the batch', async (t) => {
    const setting = new Setting(t);
    const id = setting.volume();
    const [missing] = await setting.files.putBlocks(id, [blockFile('f', Buffer.from('data'))], {
      overwrite: false,
    });
    assert.ok(missing);
    const ticket = setting.files.tickets.open(missing.ticket);
    assert.equal(ticket.kind, 'put');
    const body = new PassThrough();
    const sending = setting.files.uploads.receive(ticket, body, never);
    const place = () => setting.files.uploads.place(ticket.upload, 0, join(setting.directory, 'placed'));
    await assert.rejects(place(), { code: 'unavailable' });
    body.end('data');
    await sending;
    await place();
  });

  test('a block that any volume has is not asked for again, also after its file was replaced', async (t) => {
    const setting = new Setting(t);
    const [one, other] = [setting.volume('one'), setting.volume('other')];
    const data = big('x', BLOCK_BYTES + 5);
    assert.equal((await setting.put(one, { a: data, b: data })).length, 2);
    assert.equal((await setting.put(other, { 'c/d': data })).length, 0);
    assert.ok((await setting.read(other, 'c/d')).equals(data));
    await setting.put(one, { a: 'short', b: 'short' }, true);
    assert.equal((await setting.put(other, { e: data })).length, 0);
    assert.ok((await setting.read(one, 'b')).equals(Buffer.from('short')));
  });

  test('other bytes than announced are refused and leave no trace in the file', async (t) => {
    const setting = new Setting(t);
    const id = setting.volume();
    const data = Buffer.concat([Buffer.from('good'), Buffer.alloc(96)]);
    const files = [blockFile('f', data)];
    const [missing] = await setting.files.putBlocks(id, files, { overwrite: false });
    assert.ok(missing);
    const refused = { code: 'invalid-argument', message: /do not have the SHA-256/ };
    await assert.rejects(setting.send(missing, big('z', 90)), refused);
    await assert.rejects(setting.send(missing, big('z', 101)), refused);
    const receipts = new Map([[sha256('good'), await setting.send(missing, Buffer.from('good'))]]);
    await setting.files.putBlocks(id, withReceipts(files, receipts), { overwrite: false });
    assert.ok((await setting.read(id, 'f')).equals(data));
  });

  test('sizes, blocks, names and receipts that cannot be are refused or ignored', async (t) => {
    const setting = new Setting(t);
    const id = setting.volume();
    const put = (files: readonly BlockFile[]) => setting.files.putBlocks(id, files, { overwrite: false });
    const file = blockFile('f', Buffer.from('x'));
    const invalid = { code: 'invalid-argument' };
    await assert.rejects(put([{ ...file, size: 0 }]), invalid);
    await assert.rejects(put([{ ...file, size: BLOCK_BYTES + 1 }]), invalid);
    await assert.rejects(put([file, file]), invalid);
    await assert.rejects(put([{ ...file, path: '/' }]), invalid);
    await assert.rejects(put([{ ...file, path: 'a\0b' }]), invalid);
    await assert.rejects(
      put([file, { ...file, path: 'f/below' }]).then(() => setting.put(id, { f: 'x', 'f/b': 'y' })),
      {
        code: 'conflict',
      },
    );
    for (const receipt of ['', '../../etc', 'up-0000000000000000000000']) {
      const missing = await put([{ ...file, path: 'g', blocks: [{ sha256Hex: sha256('new'), receipt }] }]);
      assert.equal(missing.length, 1);
    }
    assert.deepEqual(await setting.list(id), []);
  });

  test('a file of what comes is there whole or not at all, and takes only the room there is', async (t) => {
    const setting = new Setting(t);
    const id = setting.volume();
    const put = (path: string, content: Iterable<string> | AsyncIterable<string>, overwrite = true) =>
      setting.files.putStream(id, path, 0o640, Readable.from(content).map(Buffer.from), { overwrite });
    assert.equal(await put('a/b', ['first ', 'second']), 12);
    assert.equal(await put('empty', []), 0);
    assert.equal(String(await setting.read(id, 'a/b')), 'first second');
    const { place } = await setting.files.range(id, 'a/b', 0, 0);
    assert.equal(statSync(setting.files.hostPath(place)).mode & 0o7777, 0o640);
    await assert.rejects(put('a/b', ['x'], false), { code: 'already-exists' });
    await assert.rejects(put('a', ['x']), { code: 'already-exists' });
    await assert.rejects(put('/', ['x']), { code: 'invalid-argument' });
    const brokenOff = async function* () {
      yield 'third';
      throw new Error('the connection broke');
    };
    await assert.rejects(put('a/b', brokenOff()), /the connection broke/);
    setting.room.bytes = 8;
    await assert.rejects(put('a/b', ['12345678', 'far too much']), { code: 'disk-full' });
    assert.equal(String(await setting.read(id, 'a/b')), 'first second');
    setting.maxBytes = 8;
    setting.restart();
    await assert.rejects(put('a/c', ['12345', '6789']), { code: 'volume-full' });
    assert.deepEqual(await setting.list(id), ['a', 'a/b', 'empty']);
    assert.deepEqual(readdirSync(join(setting.directory, 'volumes/tmp')), []);
  });

  test('one that nobody goes on with is given up after a day', async (t) => {
    const setting = new Setting(t);
    const id = setting.volume();
    const [missing] = await setting.files.putBlocks(id, [blockFile('f', Buffer.from('x'))], {
      overwrite: false,
    });
    assert.ok(missing);
    setting.clock.ms += 23 * HOUR_MS;
    await setting.files.sweep(setting.clock.ms);
    await setting.send(missing, Buffer.from('x'));
    await setting.files.sweep(setting.clock.ms + 3 * HOUR_MS);
    const whileItIsSwept = async function* () {
      await setting.files.sweep(setting.clock.ms + 30 * HOUR_MS);
      yield Buffer.from('x');
    };
    await setting.send(missing, whileItIsSwept());
    await setting.files.sweep(setting.clock.ms + 25 * HOUR_MS);
    await assert.rejects(setting.send(missing, Buffer.from('x')), { code: 'not-found' });
    assert.deepEqual(readdirSync(join(setting.directory, 'volumes/uploads')), []);
  });
});

describe('versions', { skip }, () => {
  test('the first changes of several volumes at once all succeed', async (t) => {
    const setting = new Setting(t);
    const ids = ['a', 'b', 'c', 'd'].map((name) => setting.volume(name));
    await Promise.all(ids.map((id) => setting.put(id, { file: 'x' })));
    for (const id of ids) assert.deepEqual(await setting.list(id), ['file']);
  });

  test('a long history becomes one layer that reads the same; what was removed stays removed', async (t) => {
    const setting = new Setting(t);
    const id = setting.volume();
    await setting.put(id, { 'dir/gone': 'x', 'dir/kept': 'kept' });
    await setting.files.remove(id, 'dir/gone', false);
    for (let i = 0; i < 40; i++) await setting.put(id, { [`f${i % 5}`]: `${i}` }, true);
    assert.deepEqual(await setting.list(id), ['dir', 'dir/kept', 'f0', 'f1', 'f2', 'f3', 'f4']);
    assert.equal(String(await setting.read(id, 'f4')), '39');
    const version = setting.store.volumes.version(id);
    assert.ok(version);
    const { layers, files, number } = version;
    assert.ok(layers.length < 32, `${layers.length} layers`);
    assert.equal(number, 42);
    assert.equal(files, 7);
    assert.equal((await setting.put(id, { again: 'kept' })).length, 0, 'a merged block is known');
  });

  test('what was written over again and again takes little more room than what there is', async (t) => {
    const setting = new Setting(t);
    const id = setting.volume();
    const size = 400 * 2 ** 20; // of zeros, which take no room here
    const blocks = Array.from({ length: size / BLOCK_BYTES }, () => ({
      sha256Hex: sha256(''),
      receipt: undefined,
    }));
    const file = { path: 'f', mode: 0o644, size, blocks };
    for (let times = 1; times <= 10; times++) {
      assert.deepEqual(await setting.files.putBlocks(id, [file], { overwrite: true }), []);
      const { layers = [], bytes } = setting.store.volumes.version(id) ?? {};
      assert.equal(bytes, size);
      assert.ok(layers.length * size <= 2 ** 30 + 2 * size, `${layers.length} layers`);
    }
    await setting.files.sweep(setting.clock.ms + 2 * HOUR_MS);
    const there = readdirSync(join(setting.directory, 'volumes/layers'));
    assert.deepEqual(there.sort(), [...(setting.store.volumes.version(id)?.layers ?? [])].sort());
  });

  test('layers go an hour after the last version that had them; a download under way goes on', async (t) => {
    const setting = new Setting(t);
    const id = setting.volume();
    await setting.put(id, { f: 'old' });
    const { place } = await setting.files.range(id, 'f', 0, 0);
    for (let i = 0; i < 32; i++) await setting.put(id, { f: `${i}` }, true);
    setting.clock.ms += HOUR_MS / 2;
    await setting.files.sweep(setting.clock.ms);
    assert.equal(await readFile(setting.files.hostPath(place), 'utf8'), 'old');
    await setting.files.sweep(setting.clock.ms + HOUR_MS);
    await assert.rejects(readFile(setting.files.hostPath(place)), { code: 'ENOENT' });
    assert.equal(String(await setting.read(id, 'f')), '31');
    const kept = readdirSync(join(setting.directory, 'volumes/layers'));
    assert.deepEqual(kept, [...(setting.store.volumes.version(id)?.layers ?? [])]);
  });

  test('a change that fails half way changes nothing', async (t) => {
    const setting = new Setting(t);
    const id = setting.volume();
    await setting.put(id, { a: 'a', b: 'b' });
    const before = setting.store.volumes.version(id);
    assert.ok(before);
    await assert.rejects(setting.files.copy(id, ['a', 'nowhere'], '/', { recursive: false }));
    await assert.rejects(
      setting.files.putWhole(id, [{ path: 'c', sha256Hex: sha256('absent'), mode: 0o644 }], {
        overwrite: true,
      }),
      { code: 'not-found' },
    );
    assert.deepEqual(setting.store.volumes.version(id), before);
    setting.restart();
    assert.deepEqual(await setting.list(id), ['a', 'b']);
    assert.deepEqual(readdirSync(join(setting.directory, 'volumes/tmp')), []);
  });

  test('an ephemeral volume goes when nobody asks for it any more', async (t) => {
    const setting = new Setting(t);
    const service = new VolumeService(setting.store.volumes, () => setting.clock.ms);
    const [kept, left] = [
      service.createEphemeral(ENVIRONMENT, 2).id,
      service.createEphemeral(ENVIRONMENT, 2).id,
    ];
    setting.clock.ms += HOUR_MS / 6;
    service.heartbeat(kept);
    service.sweep(setting.clock.ms + HOUR_MS / 6);
    assert.ok(service.get(kept));
    assert.throws(() => service.get(left), { code: 'not-found' });
    const named = setting.volume('named');
    service.sweep(setting.clock.ms + 1000 * HOUR_MS);
    assert.ok(service.get(named));
  });
});

describe('bounds', { skip }, () => {
  const overwrite = false;
  const full = { code: 'disk-full', message: /out of disk space for an upload/ };
  const uploads = (setting: Setting) => readdirSync(join(setting.directory, 'volumes/uploads'));

  test('an upload that the disk has no room for is refused before anything is sent', async (t) => {
    const setting = new Setting(t);
    const id = setting.volume();
    setting.room.bytes = BLOCK_BYTES;
    const data = Buffer.concat([big('a', BLOCK_BYTES), big('b', 100)]);
    await assert.rejects(setting.files.putBlocks(id, [blockFile('f', data)], { overwrite }), full);
    setting.room.files = 2;
    const many = ['a', 'b'].map((name) => blockFile(name, Buffer.from(name)));
    await assert.rejects(setting.files.putBlocks(id, many, { overwrite }), full);
    assert.deepEqual(uploads(setting), []);
    await setting.put(id, { small: 'small' });
    assert.deepEqual(await setting.list(id), ['small']);
  });

  test('where the room ends while blocks are sent, and where known blocks are copied, nothing is lost', async (t) => {
    const setting = new Setting(t);
    const id = setting.volume();
    await setting.put(id, { known: big('k', 1000) });
    const files = [blockFile('f', Buffer.from('content'))];
    const [missing] = await setting.files.putBlocks(id, files, { overwrite });
    assert.ok(missing);
    setting.room.bytes = 6;
    await assert.rejects(setting.send(missing, Buffer.from('content')), full);
    await assert.rejects(setting.files.putBlocks(id, [blockFile('g', big('k', 1000))], { overwrite }), full);
    await assert.rejects(setting.files.copy(id, ['known'], 'copy', { recursive: false }), {
      code: 'disk-full',
    });
    assert.equal(uploads(setting).length, 1);
    setting.room.bytes = 2 ** 30;
    const receipt = await setting.send(missing, Buffer.from('content'));
    const receipts = new Map([[sha256('content'), receipt]]);
    await setting.files.putBlocks(id, withReceipts(files, receipts), { overwrite });
    assert.equal(String(await setting.read(id, 'f')), 'content');
    assert.deepEqual(await setting.list(id), ['f', 'known']);
  });

  test('a volume holds no more than it may, and is told so before anything is sent', async (t) => {
    const setting = new Setting(t);
    setting.maxBytes = 1000;
    setting.restart();
    const id = setting.volume();
    await setting.put(id, { a: big('a', 600) });
    const volumeFull = { code: 'volume-full' };
    await assert.rejects(setting.put(id, { b: big('b', 500) }), volumeFull);
    await assert.rejects(setting.files.copy(id, ['a'], 'copy', { recursive: false }), volumeFull);
    assert.deepEqual(uploads(setting), []);
    await setting.put(id, { a: big('c', 900) }, true);
    await setting.files.remove(id, 'a', false);
    await setting.put(id, { b: big('b', 500) });
    assert.deepEqual(await setting.list(id), ['b']);
  });
});

test('tickets open what they were made for, for a day', { skip }, async (t) => {
  const setting = new Setting(t);
  const { tickets } = setting.files;
  const part = { kind: 'get', place: 'layers/x', start: 0, length: 5 } as const;
  const text = tickets.issue(part);
  assert.match(text, /^[\w.-]+$/);
  assert.deepEqual(tickets.open(text), part);
  const refused = { code: 'permission-denied' };
  const other = tickets.issue({ ...part, place: '../../skerry.db' });
  for (const bad of ['', '.', text.slice(1), `${text}x`, `${other.split('.')[0]}.${text.split('.')[1]}`])
    assert.throws(() => tickets.open(bad), refused);
  setting.clock.ms += 25 * HOUR_MS;
  assert.throws(() => tickets.open(text), refused);
});
