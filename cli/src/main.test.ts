import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { run } from '../../server/src/platform/command.ts';
import { formatChecks } from './commands/doctor.ts';

const bin = fileURLToPath(new URL('../bin/skerry.mjs', import.meta.url));

describe('the skerry command', () => {
  let dir: string;
  before(() => {
    dir = mkdtempSync(join(tmpdir(), 'cli-test-'));
  });
  after(() => rmSync(dir, { recursive: true, force: true }));

  const skerry = (...args: string[]) =>
    run([process.execPath, bin, ...args], {
      env: { PATH: process.env.PATH ?? '', HOME: dir },
      okCodes: [1, 2, 3],
    });

  test('shows help with every command, and the settings of `up`', async () => {
    const help = await skerry('--help');
    assert.equal(help.code, 0);
    for (const name of ['up', 'down', 'status', 'env', 'doctor'])
      assert.match(help.stdout, new RegExp(`^  ${name} `, 'm'));
    const up = await skerry('up', '--help');
    assert.match(up.stdout, /--runtime <auto\|gvisor\|runc>/);
    assert.match(up.stdout, /--default-memory-mib/);
  });

  test('ends with status 2 on wrong usage, 3 when no server runs, and keeps standard output clean', async () => {
    const unknown = await skerry('frobnicate');
    assert.deepEqual([unknown.code, unknown.stdout], [2, '']);
    assert.match(unknown.stderr, /unknown command 'frobnicate'/);
    const value = await skerry('up', '--port', 'x');
    assert.deepEqual([value.code, value.stdout], [2, '']);
    assert.match(value.stderr, /flag --port: "x"/);
    for (const name of ['status', 'env']) {
      const result = await skerry(name);
      assert.deepEqual([result.code, result.stdout], [3, ''], name);
      assert.match(result.stderr, /running/i);
    }
  });

  test('does its work to the end for a reader that has left', async () => {
    for (const [args, status] of [
      [['--help'], 0],
      [['doctor', '--json', '--data-dir', join(dir, 'data')], undefined],
      [['down'], 0],
      [['status', '--json'], 3],
    ] as const) {
      const env = { PATH: process.env.PATH ?? '', HOME: dir };
      const child = spawn(process.execPath, [bin, ...args], { env, stdio: ['ignore', 'pipe', 'pipe'] });
      child.stdout.destroy();
      const [said, [code, signal]] = await Promise.all([text(child.stderr), once(child, 'exit')]);
      assert.doesNotMatch(said, /EPIPE|node:/, args[0]);
      assert.equal(signal, null, args[0]);
      if (status !== undefined) assert.equal(code, status, args[0]);
    }
  });

  test('has nothing to do for `down` where there never was a server', async () => {
    const { code, stdout } = await skerry('down');
    assert.equal(code, 0);
    assert.match(stdout, /Nothing to do/);
  });

  test('names the port that is in use and how to choose another', async () => {
    const blocker = createServer();
    await new Promise<void>((resolve) => blocker.listen(0, '127.0.0.1', resolve));
    try {
      const address = blocker.address();
      assert.ok(address !== null && typeof address === 'object');
      const { code, stderr } = await skerry('up', '--port', String(address.port));
      assert.equal(code, 1);
      assert.match(stderr, new RegExp(`Port ${address.port} on 127\\.0\\.0\\.1 is in use.*--port`));
    } finally {
      await new Promise((resolve) => blocker.close(resolve));
    }
  });

  test('install takes the settings of `up`, and uninstall has nothing to do where nothing is installed', async () => {
    const value = await skerry('install', '--port', 'x');
    assert.deepEqual([value.code, value.stdout], [2, '']);
    const { code, stdout, stderr } = await skerry('uninstall');
    assert.deepEqual([code, stderr], [0, '']);
    assert.match(stdout, /Nothing to do/);
  });

  test('doctor says what to do under each thing that is missing', () => {
    const text = formatChecks([
      { name: 'runc', ok: false, required: true, found: 'not found', remedy: 'Install runc.' },
      { name: 'gVisor', ok: false, required: false, found: 'not found', remedy: 'Install gVisor.' },
      { name: 'root', ok: true, required: true, found: 'yes', remedy: 'Use sudo.' },
    ]);
    assert.match(text, /✗ runc .*not found\n.*→ Install runc\./);
    assert.match(text, /! gVisor .*\n.*→ Install gVisor\./);
    assert.doesNotMatch(text, /sudo/);
    assert.match(text, /Missing: runc\./);
  });
});
