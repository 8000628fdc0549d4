import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import fc from 'fast-check';
import { OutputBudget } from './output-budget.ts';
import { OutputLog } from './output-log.ts';

const never = new AbortController().signal;
const unlimited = () => new OutputBudget(Number.MAX_SAFE_INTEGER, never, () => {});

async function readAll(log: OutputLog, offset = 0): Promise<string> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of log.read(offset, never)) {
    assert.ok(chunk.length > 0, 'a chunk is never empty');
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString();
}

describe('OutputLog', () => {
  let directory: string;
  let count = 0;
  const path = () => join(directory, `log-${count++}`);
  before(() => {
    directory = mkdtempSync(join(tmpdir(), 'output-log-'));
  });
  after(() => rmSync(directory, { recursive: true }));

  test('gives every reader everything, from any offset, before and after the end', async () => {
    const log = new OutputLog(path(), unlimited());
    const live = [readAll(log), readAll(log, 3)];
    await log.append(0, Buffer.from('hello '));
    await log.append(6, Buffer.from('world'));
    log.end();
    assert.deepEqual(await Promise.all(live), ['hello world', 'lo world']);
    assert.equal(await readAll(log), 'hello world');
    assert.equal(await readAll(log, 11), '');
  });

  test('gives every reader everything, whatever the pieces and however far behind he is', () =>
    fc.assert(
      fc.asyncProperty(
        fc.array(fc.oneof(fc.integer({ min: 1, max: 300 }), fc.integer({ min: 1, max: 200_000 })), {
          maxLength: 30,
        }),
        fc.array(fc.array(fc.boolean(), { maxLength: 40 }), { minLength: 1, maxLength: 3 }),
        async (lengths, pauses) => {
          const log = new OutputLog(path(), unlimited());
          const all = randomBytes(lengths.reduce((sum, length) => sum + length, 0));
          const readers = pauses.map(async (slow) => {
            const chunks: Uint8Array[] = [];
            for await (const chunk of log.read(0, never)) {
              chunks.push(chunk);
              if (slow[chunks.length]) await setImmediate();
            }
            return Buffer.concat(chunks);
          });
          let at = 0;
          for (const [i, length] of lengths.entries()) {
            await log.append(at, all.subarray(at, at + length));
            at += length;
            if (i % 3 === 0) await setImmediate();
          }
          log.end();
          for (const read of await Promise.all(readers)) assert.ok(read.equals(all));
        },
      ),
      { numRuns: 50 },
    ));

  test('who keeps up with the writer needs no file', async () => {
    const file = path();
    const log = new OutputLog(file, unlimited());
    await log.append(0, Buffer.alloc(100_000, 'x')); // more than is kept as a whole
    const reader = log.read(100_000, never)[Symbol.asyncIterator]();
    const next = reader.next();
    await log.append(100_000, Buffer.from('news'));
    truncateSync(file, 0);
    assert.equal(Buffer.from((await next).value ?? []).toString(), 'news');
    log.end();
    assert.equal((await reader.next()).done, true);
  });

  test('skips what a reconnect replays and refuses a gap', async () => {
    const log = new OutputLog(path(), unlimited());
    await log.append(0, Buffer.from('abcdef'));
    await log.append(2, Buffer.from('cdefgh'));
    await log.append(0, Buffer.from('abc'));
    log.end();
    assert.equal(await readAll(log), 'abcdefgh');
    const other = new OutputLog(path(), unlimited());
    assert.throws(() => other.append(1, Buffer.from('x')), /output gap/);
  });

  test('outgrows memory without losing a byte, and is on disk at once', async () => {
    const file = path();
    const log = new OutputLog(file, unlimited());
    const piece = Buffer.alloc(50_000, 'x');
    const reader = readAll(log);
    for (let i = 0; i < 20; i++) await log.append(i * piece.length, piece);
    assert.equal(readFileSync(file).length, 1_000_000);
    log.end();
    assert.equal((await reader).length, 1_000_000);
    assert.equal((await readAll(log, 999_990)).length, 10);
  });

  test('one that is new replaces what lies there', async () => {
    const file = path();
    writeFileSync(file, 'of another time');
    const log = new OutputLog(file, unlimited(), { isNew: true });
    assert.equal(log.length, 0);
    await log.append(0, Buffer.from('new '));
    await log.append(4, Buffer.from('words'));
    log.end();
    assert.equal(await readAll(log), 'new words');
    assert.equal(readFileSync(file, 'utf8'), 'new words');
    assert.equal(new OutputLog(file, unlimited()).length, 9);
  });

  test('continues what an earlier server wrote', async () => {
    const file = path();
    writeFileSync(file, 'before ');
    const log = new OutputLog(file, unlimited());
    assert.equal(log.length, 7);
    await log.append(0, Buffer.from('before after'));
    log.end();
    assert.equal(await readAll(log), 'before after');
  });

  test('holds the writer at the bound, says so once, and lets go at the end of the sandbox', async () => {
    const ended = new AbortController();
    const reasons: string[] = [];
    const budget = new OutputBudget(10, ended.signal, (reason) => reasons.push(reason));
    const log = new OutputLog(path(), budget);
    const other = new OutputLog(path(), budget);
    await log.append(0, Buffer.from('12345678'));
    const held = [log.append(8, Buffer.from('90123')), other.append(0, Buffer.from('abcdef'))];
    assert.deepEqual(reasons, ['bound']);
    assert.equal(log.length, 8);
    ended.abort();
    await Promise.all(held);
    assert.equal(log.length, 8);
    assert.equal(other.length, 0);
  });

  test('at the bound what was read to its end goes first, oldest first, and is told to be gone, also after a restart', async () => {
    const piece = Buffer.alloc(100_000, 'x');
    const budget = new OutputBudget(4 * piece.length, never, () => {});
    const logOf = (file: string) => new OutputLog(file, budget);
    const later = (file: string) => {
      const log = new OutputLog(file, unlimited());
      log.end();
      return log;
    };
    const [first, second, unread, small, next] = [path(), path(), path(), path(), path()];
    for (const file of [first, second, unread]) {
      const log = logOf(file);
      await log.append(0, piece);
      log.end();
      if (file !== unread) await readAll(log);
    }
    const short = logOf(small);
    await short.append(0, Buffer.from('short'));
    short.end();
    await readAll(short);
    const log = logOf(next);
    await log.append(0, piece); // takes the place of the first
    await assert.rejects(readAll(later(first)), { code: 'conflict', message: /--max-output-mib/ });
    const again = later(first);
    assert.equal(again.length, piece.length);
    assert.equal(await readAll(again, piece.length), '');
    await assert.rejects(readAll(again, 5), { code: 'conflict' });
    assert.equal((await readAll(later(second))).length, piece.length);
    assert.equal(await readAll(later(small)), 'short');
  });

  test('a writer that waits at the bound goes on when something was read', async () => {
    const piece = Buffer.alloc(100_000, 'x');
    const budget = new OutputBudget(2 * piece.length, never, () => {});
    const [old, log] = [new OutputLog(path(), budget), new OutputLog(path(), budget)];
    await old.append(0, piece);
    await log.append(0, piece);
    const waiting = log.append(piece.length, piece);
    assert.equal(log.length, piece.length);
    old.end();
    await readAll(old);
    await waiting;
    log.end();
    assert.equal((await readAll(log)).length, 2 * piece.length);
  });

  test('on a full disk the writer waits; what a reconnect brings again meanwhile is written and counted once', async () => {
    const file = path();
    symlinkSync('/dev/full', file);
    const reasons: string[] = [];
    const log = new OutputLog(file, new OutputBudget(11, never, (reason) => reasons.push(reason)));
    const waiting = [log.append(0, Buffer.from('hello ')), log.append(0, Buffer.from('hello '))];
    assert.deepEqual([reasons, log.length], [['disk-full'], 0]);
    rmSync(file); // there is room again
    await Promise.all(waiting);
    await log.append(6, Buffer.from('world'));
    log.end();
    assert.equal(await readAll(log), 'hello world');
    assert.equal(readFileSync(file, 'utf8'), 'hello world');
    assert.deepEqual(reasons, ['disk-full']);
  });

  test('a reader that is aborted stops waiting', async () => {
    const log = new OutputLog(path(), unlimited());
    const abort = new AbortController();
    const reading = log.read(0, abort.signal)[Symbol.asyncIterator]().next();
    abort.abort(new Error('gone'));
    await assert.rejects(reading, /gone/);
  });
});
