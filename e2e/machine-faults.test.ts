/** What a machine can lack: root, runc, disk space. Each is told in words that help, and leaves nothing behind. */
import assert from 'node:assert/strict';
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { run } from '../server/src/platform/command.ts';
import { runPython } from './support/clients.ts';
import { inventory } from './support/inventory.ts';
import { projectRoot, startServer, type TestServer } from './support/server.ts';
import { makeSmallDisk, noSmallDisk, type SmallDisk } from './support/small-disk.ts';
import { programsWithoutRunc } from './support/without-runc.ts';

const cli = join(projectRoot, 'cli/bin/skerry.mjs');

describe('a machine that lacks something', () => {
  let scratch: string;
  before(() => {
    scratch = mkdtempSync(join(tmpdir(), 'faults-'));
  });
  after(() => rmSync(scratch, { recursive: true, force: true }));

  test('not root: `up` says so and how to go on', async () => {
    const { code, stderr } = await run(
      [
        // Another user to the program, and still the owner of the clone, which others may not be able to read.
        'unshare',
        '--user',
        '--map-user=1000',
        process.execPath,
        cli,
        'up',
        '--port',
        '0',
      ],
      { cwd: '/', env: { PATH: process.env.PATH ?? '', HOME: '/nonexistent' }, okCodes: [1] },
    );
    assert.equal(code, 1);
    assert.match(stderr, /needs root.*sudo skerry up/);
  });

  test('no runc: `doctor` names it, says how to get it, and fails', async () => {
    const bin = programsWithoutRunc(scratch);
    const { code, stdout } = await run(
      // Port 0: whether somebody has the usual port is not what this asks.
      [
        process.execPath,
        cli,
        'doctor',
        '--runtime',
        'runc',
        '--port',
        '0',
        '--data-dir',
        join(scratch, 'data'),
      ],
      {
        env: { PATH: bin, HOME: scratch },
        okCodes: [1],
      },
    );
    assert.equal(code, 1, stdout);
    assert.match(stdout, /✗ runc .*\n.*→ .*runc/);
    assert.match(stdout, /Missing: runc\./);
    assert.deepEqual(await inventory(join(scratch, 'data')), [], 'a check leaves nothing behind');
    assert.equal(existsSync(join(scratch, 'data')), false);
  });
});

describe('a disk that is full when the server is to start', { skip: noSmallDisk }, () => {
  let disk: SmallDisk;
  before(async () => {
    disk = await makeSmallDisk(16 << 20);
  });
  after(() => disk?.[Symbol.asyncDispose]());

  test('`up` says so, though the log has no room for what the server says', async () => {
    const dataDir = join(disk.path, 'data');
    mkdirSync(dataDir);
    const up = [process.execPath, cli, 'up', '--port', '0', '--data-dir', dataDir] as const;
    for (const size of [1 << 20, 4096]) {
      const filling = openSync(join(disk.path, 'filling'), 'a');
      assert.throws(
        () => {
          for (;;) writeSync(filling, Buffer.alloc(size));
        },
        { code: 'ENOSPC' },
      );
      closeSync(filling);
    }
    const { stderr } = await run(up, { okCodes: [1] });
    assert.match(stderr, /no room left on the disk|no space left on device/i);
    assert.deepEqual(await inventory(dataDir), []);
  });
});

describe('a disk that gets full while an image is built', () => {
  const mountPoint = mkdtempSync(join(tmpdir(), 'full-'));
  // What the server says of its full disk must have room.
  const logFile = `${mountPoint}.log`;
  let server: TestServer | undefined;
  let mounted = false;

  before(async () => {
    await run(['mount', '-t', 'tmpfs', '-o', 'size=96m,mode=0700', 'full', mountPoint]);
    mounted = true;
    const dataDir = join(mountPoint, 'data');
    mkdirSync(dataDir);
    server = await startServer({ dataDir, freshData: true, logFile });
  });
  after(async () => {
    await server?.stop();
    if (mounted) await run(['umount', mountPoint]);
    rmSync(mountPoint, { recursive: true, force: true });
    rmSync(logFile, { force: true });
  });

  test('the build fails with words about disk space, and the server goes on', async () => {
    assert.ok(server);
    const source = `
import modal
app = modal.App.lookup("e2e-full-disk", create_if_missing=True)
try:
    modal.Sandbox.create(app=app, image=modal.Image.debian_slim(python_version="3.11"))
    print("no error")
except Exception as error:
    print(type(error).__name__, error)
print(modal.App.lookup("e2e-full-disk").app_id)`;
    const result = await runPython(server, source);
    assert.equal(result.code, 0, result.stderr);
    assert.match(result.stdout, /space/i);
    assert.doesNotMatch(result.stdout, /no error/);
    assert.match(result.stdout, /^ap-/m);
  });

  test('a server that is killed on the full disk comes back', async () => {
    assert.ok(server);
    assert.throws(() => writeFileSync(join(mountPoint, 'fill'), Buffer.alloc(100 << 20)), { code: 'ENOSPC' });
    await server.kill9();
    await server.restart();
    const { status } = await fetch(`${server.url}/healthz`);
    assert.equal(status, 200); // and `stop` finds that it can be taken down
  });
});
