import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Lab } from './testing/lab.ts';
import { MAX_CONNECTIONS } from './testing/lab-network.ts';

const HOST = fileURLToPath(new URL('testing/crowded-host.ts', import.meta.url));
/** Documentation addresses (RFC 5737) are nobody's own. */
const NEAR = '198.51.100.1';
const OUTSIDE = '198.51.100.2';
/** Of the machine itself, and the few of the other sandbox. */
const BESIDE = 16;

/** How many were opened, and what ended that. */
interface Opened {
  readonly count: number;
  readonly ended: string;
}

interface Played {
  readonly flows: Opened;
  readonly tracked: number;
  readonly connection: string;
  readonly others: readonly string[];
  readonly mended: Opened;
  readonly closedOnes: Opened;
  readonly unbounded: readonly [Opened, Opened];
  readonly left: number;
}

describe('connections of a sandbox', { skip: process.getuid?.() === 0 ? false : 'needs root' }, () => {
  it('are so many and no more, whatever becomes of the rules, and go with it; others still connect', async (t) => {
    const unique = `skerry-test-${process.pid}`;
    const [host, outside] = [`${unique}-h`, `${unique}-o`];
    const lab = await Lab.open(t, [host, outside]);
    await lab.connect(outside, [NEAR, OUTSIDE]);
    const played = (await lab.play(HOST, [lab.directory, outside, OUTSIDE])) as Played; // what the program prints
    assert.equal(played.flows.ended, 'EHOSTUNREACH');
    // A port may come up twice, and then is the same flow.
    assert.ok(Math.abs(played.flows.count - MAX_CONNECTIONS) < BESIDE, `${played.flows.count} were opened`);
    assert.ok(played.tracked <= MAX_CONNECTIONS + BESIDE, `${played.tracked} are tracked`);
    assert.equal(played.connection, 'ECONNREFUSED');
    assert.deepEqual(played.others, ['answered', 'connected']);
    assert.equal(played.mended.ended, 'EHOSTUNREACH');
    assert.ok(played.mended.count < MAX_CONNECTIONS, 'what was open before the rules were made anew counts');
    // Which of the bounds it meets first depends on how soon the other side closes as well.
    assert.match(played.closedOnes.ended, /^(late|ECONNREFUSED)$/);
    for (const { ended } of played.unbounded) assert.equal(ended, 'tired');
    assert.ok(played.left <= BESIDE, `${played.left} are left`);
  });
});
