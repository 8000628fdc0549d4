import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { SandboxFiles } from './files.ts';
import type { Sandbox } from './sandboxes.ts';
import { Domain, deadline, eventually, output } from './testing/domain.ts';

const pieces = async function* (...parts: readonly (string | Uint8Array)[]) {
  for (const part of parts) yield Buffer.from(part);
};

describe('the files of a sandbox', () => {
  let domain: Domain;
  let sandbox: Sandbox;
  let files: SandboxFiles;
  before(async () => {
    domain = await Domain.open();
    sandbox = await domain.running();
    files = new SandboxFiles(sandbox);
  });
  after(() => domain[Symbol.asyncDispose]());

  const content = async (path: string) =>
    Buffer.concat(await Array.fromAsync(files.read(path, deadline()))).toString();

  test('are written with their directories, read, described, listed and removed', async () => {
    assert.equal(await files.write('/a/b/f', pieces('one ', 'two'), deadline()), 7);
    assert.equal(await content('/a/b/f'), 'one two');
    assert.equal(await output(sandbox, ['cat', '/a/b/f']), 'one two');
    await files.write('/a/b/empty', pieces(), deadline());
    assert.equal(await content('/a/b/empty'), '');
    await files.makeDirectory('/a/b/c/d', true, deadline());
    assert.deepEqual(
      (await files.list('/a/b', deadline())).map(({ name, type, size }) => [name, type, size > 0]),
      [
        ['c', 'directory', true],
        ['empty', 'file', false],
        ['f', 'file', true],
      ],
    );
    assert.equal(await files.stat('/a/b/c', deadline()), 'directory');
    assert.equal(await files.stat('/a/b/none', deadline()), undefined);
    await files.remove('/a', true, deadline());
    assert.equal(await files.stat('/a', deadline()), undefined);
  });

  test('may be larger than any buffer, in pieces of any size', async () => {
    const bytes = randomBytes(3_000_001);
    const parts = [bytes.subarray(0, 1), bytes.subarray(1, 2_900_000), bytes.subarray(2_900_000)];
    assert.equal(await files.write('/large', pieces(...parts), deadline()), bytes.length);
    assert.ok(Buffer.concat(await Array.fromAsync(files.read('/large', deadline()))).equals(bytes));
  });

  test('say what is wrong with them', async () => {
    await files.write('/d/f', pieces('x'), deadline());
    for (const [fault, code, call] of [
      ['not-found', 'not-found', () => content('/none')],
      ['is-a-directory', 'conflict', () => content('/d')],
      ['is-a-directory', 'conflict', () => files.write('/d', pieces('x'), deadline())],
      ['not-a-directory', 'conflict', () => files.list('/d/f', deadline())],
      ['not-empty', 'conflict', () => files.remove('/d', false, deadline())],
      ['exists', 'conflict', () => files.makeDirectory('/d', false, deadline())],
    ] as const) {
      await assert.rejects(call(), { name: 'SkerryError', fault, code, message: /: '\/(none|d)/ }, fault);
    }
  });

  test('keep what they had when new content breaks off', async () => {
    await files.write('/kept', pieces('old'), deadline());
    const breaking = (async function* () {
      yield Buffer.from('new');
      throw new Error('the caller is gone');
    })();
    await assert.rejects(files.write('/kept', breaking, deadline()), /the caller is gone/);
    await eventually(() => sandbox.processes().every(({ exit }) => exit !== undefined));
    assert.equal(await content('/kept'), 'old');
    assert.deepEqual(
      (await files.list('/', deadline())).map(({ name }) => name).filter((name) => name.includes('kept')),
      ['kept'],
    );
  });

  test('are let go of by a reader who leaves early', async () => {
    await files.write('/left', pieces(Buffer.alloc(4 << 20)), deadline());
    for await (const piece of files.read('/left', deadline())) {
      assert.ok(piece.length > 0);
      break;
    }
    await eventually(() => sandbox.processes().every(({ exit }) => exit !== undefined));
  });

  test('are waited for no longer than is said', async () => {
    await output(sandbox, ['sh', '-c', 'mkdir -p /p && rm -f /p/f && mkfifo /p/f']);
    const reading = Array.fromAsync(new SandboxFiles(sandbox, { timeoutMs: 50 }).read('/p/f', deadline()));
    await assert.rejects(reading);
    await eventually(() => sandbox.processes().every(({ exit }) => exit !== undefined));
  });

  test('tell of a sandbox that ends under them', async () => {
    const other = await domain.running();
    const hanging = (async function* () {
      yield Buffer.from('x');
      await other.terminate();
      yield Buffer.from('y');
    })();
    const writing = new SandboxFiles(other).write('/f', hanging, deadline());
    await assert.rejects(writing, { code: 'sandbox-ended', message: /it was terminated/ });
  });
});
