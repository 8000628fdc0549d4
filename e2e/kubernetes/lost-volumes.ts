/** A node is lost under sandboxes with volumes, through the official Python client: `npm run test:kubernetes`. */
import assert from 'node:assert/strict';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { patient } from '../support/slowness.ts';
import { cluster, nodeOf, printTimes } from './cluster.ts';
import { openTwoNodes, untilNothingIsLeft } from './two-nodes.ts';

const SANDBOXES = 6;
/** A look at a volume whose node answers: much less than the cluster takes to notice that another one does not. */
const LOOK_WITHIN_SECONDS = patient(10);
/** The cluster's 50 s until it takes a node for lost, its 10 s between nodes, and the 30 s that sandboxes bear it. */
const GIVEN_UP_WITHIN_SECONDS = 90;
/** What a Pod's removal may take once its node is given up, with time to look. */
const ENDED_WITHIN_SECONDS = GIVEN_UP_WITHIN_SECONDS + patient(60);

interface Lost {
  readonly terminated: number;
  readonly looks: readonly number[];
  readonly fates: readonly (readonly [number, string])[];
  readonly slowest: number;
  readonly others: number;
}

test('a node is lost under volumes: what was committed is there, sandboxes end with that reason, nobody else waits', async () => {
  await using nodes = await openTwoNodes({ program: 'e2e/kubernetes/lost_volumes.py' });
  const { addresses } = (await nodes.ask(`write ${SANDBOXES}`, 'written')) as { addresses: string[] }; // of our own program
  const lostOnes = addresses.filter((address) => nodeOf(address) === 'node-2');
  assert.ok(lostOnes.length >= 2 && lostOnes.length < SANDBOXES, addresses.join(' '));
  const [first = ''] = lostOnes;
  const prefix = first.slice(0, first.lastIndexOf('.') + 1);
  await cluster('lose', '2');
  const lost = (await nodes.ask(`lose ${prefix}`, 'lost')) as unknown as Lost; // likewise
  assert.equal(lost.fates.length, lostOnes.length - 1);
  for (const [, why] of lost.fates) assert.match(why, /Its node does not answer any more/);
  const ends = lost.fates.map(([seconds]) => seconds);
  for (const seconds of [...ends, ...lost.looks, lost.terminated])
    assert.ok(seconds < ENDED_WITHIN_SECONDS, `it took ${seconds} s`);
  assert.ok(lost.slowest < LOOK_WITHIN_SECONDS, `a look took ${lost.slowest} s`);
  await nodes.ask(`again ${prefix}`, 'again');
  await nodes.ask(`close ${prefix}`, 'closed');
  await untilNothingIsLeft();
  assert.deepEqual(await readdir(join(nodes.server.dataDir, 'volumes/mounted')), []);
  printTimes({
    'a node is lost, until its sandboxes with volumes have ended': ends,
    'the same, of one that was terminated meanwhile': [lost.terminated],
    'the same, until who looks at their volumes has an answer': lost.looks,
    'the slowest exec, commit and read of another volume meanwhile': [lost.slowest],
  });
});
