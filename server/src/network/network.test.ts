import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Cleanup } from '../platform/cleanup.ts';
import { run } from '../platform/command.ts';
import { cleanUpAfter } from './testing/broken-off.ts';

const HOST = fileURLToPath(new URL('testing/flushed-host.ts', import.meta.url));

/** It takes rules away some twenty times, each with a look of its own. */
const TIMEOUT_MS = 5 * 60_000;

/** Documentation addresses (RFC 5737) are nobody's own, so that an open sandbox may reach them; a private one it may not. */
const ADDRESSES = { host: '198.51.100.1', outside: '198.51.100.2', closed: '172.31.250.9' };

/** What `flushed-host.ts` prints, on a machine of its own with another one beside it. */
async function onAMachine(t: TestContext, watchMs: number): Promise<unknown> {
  const cleanup = new Cleanup();
  t.after(() => cleanup.run());
  const directory = await mkdtemp(join(tmpdir(), 'skerry-network-'));
  cleanup.add('directory', () => rm(directory, { recursive: true, force: true }));
  const unique = `skerry-test-${process.pid}-${watchMs}`;
  const [host, outside] = [`${unique}-h`, `${unique}-o`] as const;
  for (const name of [host, outside]) {
    await run(['ip', 'netns', 'add', name]);
    cleanup.add('namespace', () => run(['ip', 'netns', 'del', name]));
  }
  await cleanUpAfter(cleanup, host, directory);
  const lines = [
    `link add uplink netns ${host} type veth peer name uplink netns ${outside}`,
    `-n ${host} addr add ${ADDRESSES.host}/24 dev uplink`,
    `-n ${outside} addr add ${ADDRESSES.outside}/24 dev uplink`,
    `-n ${outside} addr add ${ADDRESSES.closed}/32 dev lo`,
    ...[host, outside].flatMap((name) => [`-n ${name} link set uplink up`, `-n ${name} link set lo up`]),
    `-n ${host} route add default via ${ADDRESSES.outside}`,
  ];
  for (const line of lines) await run(['ip', ...line.split(' ')]);
  const args = [directory, outside, JSON.stringify(ADDRESSES), String(watchMs)];
  const command = [process.execPath, '--no-warnings', HOST, ...args];
  const { stdout } = await run(['ip', 'netns', 'exec', host, ...command], { timeoutMs: TIMEOUT_MS });
  return JSON.parse(stdout);
}

type Received = Record<string, number>;

const NOTHING = { outside: 0, gateway: 0, host: 0, neighbour: 0, closed: 0, blocked: 0, listed: 0 };
const OUTSIDE_ALONE = { ...NOTHING, outside: 3 };
const root = { skip: process.getuid?.() === 0 ? false : 'needs root' };

describe('without rules that somebody took away', root, () => {
  it('nothing more goes out of a sandbox, whichever they are; the next look puts all in force again', async (t) => {
    const { before, ...parts } = (await onAMachine(t, 3_600_000)) as { before: Received } & Record<
      string,
      { without: Received; mended: Received }
    >; // what the program prints
    assert.deepEqual(before, OUTSIDE_ALONE);
    for (const [part, { without, mended }] of Object.entries(parts)) {
      // Without some of them the others may still let out what may go out.
      const outside = /table|ruleset/.test(part) ? 0 : without.outside;
      assert.deepEqual(without, { ...NOTHING, outside }, part);
      assert.deepEqual(mended, OUTSIDE_ALONE, `${part}, mended`);
    }
    assert.ok(Object.keys(parts).includes('flush chain leaving'));
  });

  it('`nft flush ruleset` is noticed, and what it took away made anew', async (t) => {
    const { mended } = (await onAMachine(t, 50)) as { mended: Received }; // what the program prints
    assert.ok(mended.outside);
    assert.deepEqual(mended, { ...NOTHING, outside: mended.outside });
  });
});
