import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Cleanup } from '../platform/cleanup.ts';
import { run } from '../platform/command.ts';

const HOST = fileURLToPath(new URL('testing/flushed-host.ts', import.meta.url));

/** What `flushed-host.ts` prints, on a machine of its own with another one beside it. */
async function onAMachine(t: TestContext, watchMs: number): Promise<unknown> {
  const cleanup = new Cleanup();
  t.after(() => cleanup.run());
  const directory = await mkdtemp(join(tmpdir(), 'skerry-network-'));
  cleanup.add('directory', () => rm(directory, { recursive: true, force: true }));
  const unique = `skerry-test-${process.pid}-${watchMs}`;
  const [host, outside] = [`${unique}-h`, `${unique}-o`];
  for (const name of [host, outside]) {
    await run(['ip', 'netns', 'add', name]);
    cleanup.add('namespace', () => run(['ip', 'netns', 'del', name]));
  }
  // Documentation addresses (RFC 5737): nobody's own, so that an open sandbox may reach them.
  const lines = [
    `link add uplink netns ${host} type veth peer name uplink netns ${outside}`,
    `-n ${host} addr add 198.51.100.1/24 dev uplink`,
    `-n ${outside} addr add 198.51.100.2/24 dev uplink`,
    ...[host, outside].flatMap((name) => [`-n ${name} link set uplink up`, `-n ${name} link set lo up`]),
    `-n ${host} route add default via 198.51.100.2`,
  ];
  for (const line of lines) await run(['ip', ...line.split(' ')]);
  const args = [directory, outside, '198.51.100.2', String(watchMs)];
  const command = [process.execPath, '--no-warnings', HOST, ...args];
  return JSON.parse((await run(['ip', 'netns', 'exec', host, ...command])).stdout);
}

const OUTSIDE_ALONE = { host: 0, neighbour: 0, outside: 3 };

describe('`nft flush ruleset`', { skip: process.getuid?.() === 0 ? false : 'needs root' }, () => {
  it('lets nothing out of a sandbox; the next change of a rule puts all in force again', async (t) => {
    assert.deepEqual(await onAMachine(t, 3_600_000), {
      before: OUTSIDE_ALONE,
      flushed: { host: 0, neighbour: 0, outside: 0 },
      mended: OUTSIDE_ALONE,
    });
  });

  it('is noticed, and what it took away made anew', async (t) => {
    const { mended } = (await onAMachine(t, 50)) as { mended: Record<string, number> }; // what the program prints
    assert.deepEqual([mended.host, mended.neighbour], [0, 0]);
    assert.ok(mended.outside);
  });
});
