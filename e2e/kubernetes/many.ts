/** As many sandboxes at once as two nodes take, through the official Python client: `npm run test:kubernetes`. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { printTimes } from './cluster.ts';
import { on, openTwoNodes, places, untilNothingIsLeft } from './two-nodes.ts';

const MANY = 200;

test(`${MANY} at once, and nothing of them is left`, async () => {
  await using nodes = await openTwoNodes({ flags: ['--max-starting', '8'] });
  const { each } = await nodes.open(MANY);
  const found = await places();
  assert.equal(found.length, MANY);
  for (const node of ['node-1', 'node-2']) assert.ok(on(node, found) > MANY / 4, `few on ${node}`);
  const ended = await nodes.close();
  await untilNothingIsLeft();
  printTimes({
    [`${MANY} at once, create to first output`]: each,
    [`${MANY} at once, until all have ended`]: [ended],
  });
});
