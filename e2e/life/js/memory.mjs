/** A snapshot of the memory through the official JavaScript client, of a sandbox of either kind. */
import assert from 'node:assert/strict';
import { app, create, image, modal, run } from './harness.mjs';

// What it counts to is in its memory alone.
const COUNT = 'n=0; while read line; do n=$((n+1)); echo $n; done';
const options = { command: ['sh', '-c', COUNT], experimentalEnableSnapshot: true };

async function count(sandbox) {
  await sandbox.stdin.writeText('more\n');
  const reader = sandbox.stdout.getReader();
  try {
    return (await reader.read()).value;
  } finally {
    reader.releaseLock();
  }
}

async function goesOn(sandbox) {
  assert.equal(await count(sandbox), '1\n');
  const snapshot = await sandbox.experimentalSnapshot();
  const copy = await modal.sandboxes.experimentalFromSnapshot(snapshot);
  assert.notEqual(copy.sandboxId, sandbox.sandboxId);
  for (const one of [sandbox, copy]) {
    assert.equal(await count(one), '2\n');
    await one.terminate();
  }
}

await run({
  async 'a program goes on in a copy'() {
    await goesOn(await create(options));
  },

  async 'likewise by the newer calls'() {
    await goesOn(await modal.sandboxes.experimentalCreate(app, image, options));
  },
});
