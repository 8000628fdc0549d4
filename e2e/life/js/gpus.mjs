/** GPUs through the official JavaScript client. See `python/gpus.py`. */
import assert from 'node:assert/strict';
import { create, raised, run, running } from './harness.mjs';

const devices = async (sandbox) => {
  const process = await sandbox.exec(['sh', '-c', 'ls /dev | grep test-gpu']);
  return process.stdout.readText();
};

await run({
  async 'a GPU is had, refused while it is taken, and free again'() {
    await running({ gpu: 't4' }, async (sandbox) => {
      assert.equal(await devices(sandbox), 'test-gpu1\n');
      const taken = await raised('ClientError', () => create({ gpu: 'T4' }));
      assert.match(taken.message, /RESOURCE_EXHAUSTED.*0 of 1 free/);
    });
    const absent = await raised('ClientError', () => create({ gpu: 'H100:2' }));
    assert.match(absent.message, /INVALID_ARGUMENT.*1 × A100-80GB, 1 × T4/);
    await running({ gpu: 'any:2' }, async (sandbox) => {
      assert.equal(await devices(sandbox), 'test-gpu0\ntest-gpu1\n');
    });
  },
});
