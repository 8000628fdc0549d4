/** As many sandboxes at once as two nodes take, through the official Python client: `npm run test:kubernetes`. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { delay } from '../../server/src/platform/wait.ts';
import { patient } from '../support/slowness.ts';
import { kubectl, printTimes } from './cluster.ts';
import { on, openTwoNodes, places } from './two-nodes.ts';

const MANY = 200;
const GONE_WITHIN_MS = patient(120_000);

test(`${MANY} at once, and nothing of them is left`, async () => {
  await using nodes = await openTwoNodes('--max-starting', '8');
  const { each } = await nodes.open(MANY);
  const found = await places();
  assert.equal(found.length, MANY);
  for (const node of ['node-1', 'node-2']) assert.ok(on(node, found) > MANY / 4, `few on ${node}`);
  const ended = await nodes.close();
  const words = ['--selector', 'skerry.dev/instance', '--output', 'name'];
  // What a busy node did not let go within a minute is removed later, by who tries again.
  const deadline = AbortSignal.timeout(GONE_WITHIN_MS);
  while ((await kubectl('get', 'pods,secrets', ...words)) !== '') await delay(500, deadline);
  printTimes({
    [`${MANY} at once, create to first output`]: each,
    [`${MANY} at once, until all have ended`]: [ended],
  });
});
