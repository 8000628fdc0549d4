import assert from 'node:assert/strict';
import { test } from 'node:test';
import { run } from './command.ts';
import { nodeFlags } from './node-flags.ts';

test('a second start finds TypeScript without its types: nothing is loaded that would take them away', async () => {
  const source = new URL('../config/config.ts', import.meta.url).href;
  const program = `await import(${JSON.stringify(source)}); console.log(process.moduleLoadList.some((name) => /amaro/.test(name)))`;
  const loadsStripper = async (flags: readonly string[]) =>
    (await run([process.execPath, ...flags, '--input-type=module', '--eval', program])).stdout.trim();
  assert.equal(await loadsStripper([]), 'true');
  await loadsStripper(nodeFlags);
  assert.equal(await loadsStripper(nodeFlags), 'false');
});
