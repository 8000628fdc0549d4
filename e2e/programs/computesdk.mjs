/** Drives ComputeSDK's Modal provider. Without its daemon's port, since Skerry has no tunnels. */
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { join } from 'node:path';

const { modal } = createRequire(join(process.env.PROGRAM_DIR, 'package.json'))('@computesdk/modal');
const compute = modal({ daemonSsePort: false });
const sandbox = await compute.sandbox.create({ templateId: 'python:3.11-slim', envs: { A: '1' } });
const { stdout, stderr, exitCode } = await sandbox.runCommand('echo $A; echo err >&2; exit 4');
assert.deepEqual({ stdout, stderr, exitCode }, { stdout: '1\n', stderr: 'err\n', exitCode: 4 });
const inPlace = await sandbox.runCommand('pwd', { cwd: '/tmp' });
assert.equal(inPlace.stdout, '/tmp\n');
await sandbox.filesystem.mkdir('/work/d');
await sandbox.filesystem.writeFile('/work/d/a.txt', 'héllo\n');
assert.equal(await sandbox.filesystem.readFile('/work/d/a.txt'), 'héllo\n');
assert.ok((await sandbox.filesystem.readdir('/work')).some(({ name }) => name === 'd'));
assert.equal(await sandbox.filesystem.exists('/nothere'), false);
await assert.rejects(sandbox.filesystem.readFile('/nothere'), /No such file/);
assert.equal((await sandbox.getInfo()).status, 'running');
const found = await compute.sandbox.getById(sandbox.sandboxId);
assert.equal((await found.runCommand('cat /work/d/a.txt')).stdout, 'héllo\n');
const snapshot = await compute.snapshot.create(sandbox.sandboxId);
const copy = await compute.sandbox.create({ snapshotId: snapshot.id });
assert.equal((await copy.runCommand('cat /work/d/a.txt')).stdout, 'héllo\n');
await copy.destroy();
await sandbox.destroy();
assert.match((await sandbox.runCommand('true')).stderr, /already completed/);
process.exit(0);
