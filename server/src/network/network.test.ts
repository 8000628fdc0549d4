import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Lab } from './testing/lab.ts';

const HOST = fileURLToPath(new URL('testing/flushed-host.ts', import.meta.url));

/** Documentation addresses (RFC 5737) are nobody's own, so that an open sandbox may reach them; a private one it may not. */
const ADDRESSES = { host: '198.51.100.1', outside: '198.51.100.2', closed: '172.31.250.9' };

/** What `flushed-host.ts` prints, on a machine of its own with another one beside it. */
async function onAMachine(t: TestContext, watchMs: number): Promise<unknown> {
  const unique = `skerry-test-${process.pid}-${watchMs}`;
  const [host, outside] = [`${unique}-h`, `${unique}-o`];
  const lab = await Lab.open(t, [host, outside]);
  await lab.connect(outside, [ADDRESSES.host, ADDRESSES.outside], [ADDRESSES.closed]);
  return lab.play(HOST, [lab.directory, outside, JSON.stringify(ADDRESSES), String(watchMs)]);
}

type Received = Record<string, number>;

const NOTHING = { outside: 0, gateway: 0, host: 0, neighbour: 0, closed: 0, blocked: 0, listed: 0, named: 0 };
const OUTSIDE_ALONE = { ...NOTHING, outside: 3 };
const root = { skip: process.getuid?.() === 0 ? false : 'needs root' };

describe('without rules that somebody took away', root, () => {
  it('nothing more goes out of a sandbox, whichever they are; the next look puts all in force again', async (t) => {
    const { before, ...parts } = (await onAMachine(t, 3_600_000)) as { before: Received } & Record<
      string,
      { without: Received; mended?: Received }
    >; // what the program prints
    assert.deepEqual(before, OUTSIDE_ALONE);
    for (const [part, { without, mended }] of Object.entries(parts)) {
      // Without some of them the others may still let out what may go out.
      const outside = /table|ruleset/.test(part) ? 0 : without.outside;
      assert.deepEqual(without, { ...NOTHING, outside }, part);
      if (mended) assert.deepEqual(mended, OUTSIDE_ALONE, `${part}, mended`);
    }
    const taken = Object.keys(parts);
    assert.ok(taken.includes('flush chain leaving') && taken.includes('delete rule 1 of leaving'));
  });

  it('`nft flush ruleset` is noticed, and what it took away made anew', async (t) => {
    const { mended } = (await onAMachine(t, 50)) as { mended: Received }; // what the program prints
    assert.ok(mended.outside);
    assert.deepEqual(mended, { ...NOTHING, outside: mended.outside });
  });
});
