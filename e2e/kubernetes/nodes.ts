/** Two nodes, of which one is lost, and a server that is lost, through the official Python client: `npm run test:kubernetes`. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { cluster, kubectl, printTimes } from './cluster.ts';
import { on, openTwoNodes, places, type TwoNodes } from './two-nodes.ts';

/** The cluster's 50 s until it takes a node for lost, its 10 s between nodes, and the 30 s that sandboxes bear it, with time to look. */
const LOST_WITHIN_SECONDS = 120;

describe('sandboxes on two nodes', () => {
  let nodes: TwoNodes;
  before(async () => {
    nodes = await openTwoNodes();
  });
  after(() => nodes?.[Symbol.asyncDispose]());

  test('land on both', async () => {
    await nodes.open(6);
    const all = await places();
    assert.equal(all.length, 6);
    for (const node of ['node-1', 'node-2']) assert.ok(on(node, all) > 0, `none on ${node}`);
    await nodes.close();
  });

  test('a stream goes on with the next server, and no byte of it is lost', async () => {
    await nodes.ask('stream', 'streaming');
    await nodes.server.kill9();
    await nodes.server.restart();
    const { after } = await nodes.ask('finish', 'streamed');
    assert.ok(Number(after) >= 100);
    await nodes.close();
  });

  test('a lost node: its sandboxes end with that reason, the others go on, new ones go elsewhere', async () => {
    await nodes.open(6);
    const lost = on('node-2', await places());
    assert.ok(lost > 0 && lost < 6);
    // Of a Pod that the cluster does not know to run yet it cannot say later that it was its node.
    await kubectl(
      'wait',
      '--for=condition=Ready',
      'pods',
      '--selector',
      'skerry.dev/instance',
      '--timeout=60s',
    );
    const begin = performance.now();
    await cluster('lose', '2');
    const { fates } = (await nodes.ask('survive', 'fates')) as { readonly fates: string[] }; // of our own program
    const seconds = (performance.now() - begin) / 1000;
    const ended = fates.filter((fate) => fate !== 'here');
    assert.equal(ended.length, lost, fates.join('\n'));
    for (const why of ended) assert.match(why, /Its node does not answer any more/);
    assert.ok(seconds < LOST_WITHIN_SECONDS, `it took ${seconds} s`);
    assert.equal((await places()).length, 6 - lost);
    await nodes.open(4);
    assert.equal(on('node-1', await places()), 10 - lost);
    await nodes.close();
    printTimes({ 'a node is lost, until its sandboxes have ended': [seconds] });
  });
});
