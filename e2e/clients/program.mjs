/** What every release of the JavaScript client since 0.5 can do: create, exec, output, a file, terminate. Prints one line of JSON when all of it worked. */
import assert from 'node:assert/strict';
import { ModalClient } from 'modal';

const modal = new ModalClient();
const app = await modal.apps.fromName('every-client', { createIfMissing: true });
const image = modal.images.fromRegistry('python:3.11-slim');
const sandbox = await modal.sandboxes.create(app, image, { timeoutMs: 120_000 });
const run = await sandbox.exec(['sh', '-c', 'echo out; echo err >&2; exit 3']);
const found = [await run.stdout.readText(), await run.stderr.readText(), await run.wait()];
assert.deepEqual(found, ['out\n', 'err\n', 3]);

let files = 'none';
if (sandbox.filesystem) {
  files = 'filesystem';
  await sandbox.filesystem.writeText('text', '/tmp/file');
  assert.equal(await sandbox.filesystem.readText('/tmp/file'), 'text');
} else if (sandbox.open) {
  files = 'open';
  const written = await sandbox.open('/tmp/file', 'w');
  await written.write(new TextEncoder().encode('text'));
  await written.close();
  const read = await sandbox.open('/tmp/file', 'r');
  assert.equal(new TextDecoder().decode(await read.read()), 'text');
  await read.close();
}

await sandbox.terminate();
// Between 0.7.6 and 0.10.0 the handle itself is of no use any more.
const ended = await modal.sandboxes.fromId(sandbox.sandboxId);
assert.notEqual(await ended.poll(), null);
console.log(JSON.stringify({ files }));
modal.close?.();
process.exit(0);
