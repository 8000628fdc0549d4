import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { AgentHarness } from './testing/agent-harness.ts';
import { Collector } from './testing/collector.ts';

describe('the agent of a copy', () => {
  let agent: AgentHarness;
  before(async () => {
    agent = await AgentHarness.start();
  });
  after(() => agent[Symbol.asyncDispose]());
  const signal = () => AbortSignal.timeout(60_000);

  test('goes on with one process, counted anew, and lets the others be', async () => {
    // Writes beyond its window if nobody reads, and would be killed by its timeout.
    const busy = 'while :; do head -c 100000 /dev/zero; echo more >> written; done';
    const other = await agent.start(['sh', '-c', busy], { id: 'other', timeoutMs: 3_600_000 });
    const loop = 'echo before; while read line; do echo "read $line"; done';
    const kept = await agent.start(['sh', '-c', loop], { id: 'kept' });
    await kept.process.writeStdin(0, Buffer.from('1\n'));
    await kept.sink.until('its answer', () => kept.sink.text('stdout').endsWith('read 1\n'));

    await agent.client.renew('kept', signal());
    for (const { sink } of [other, kept])
      await sink.until('the end of its connection', () => sink.lostWith !== undefined);
    const listed = await agent.client.list(signal());
    assert.deepEqual(
      listed.map(({ id, stdout, stdinAccepted }) => ({ id, stdout, stdinAccepted })),
      [{ id: 'kept', stdout: 0, stdinAccepted: 0 }],
    );

    const sink = new Collector();
    const again = await agent.client.attach('kept', { stdout: 0, stderr: 0 }, sink, signal());
    await again.writeStdin(0, Buffer.from('2\n'));
    await sink.until('what it writes now', () => sink.text('stdout') === 'read 2\n');
    const lines = async () => Number((await agent.exec(['sh', '-c', 'wc -l < written'])).stdout);
    const before = await lines();
    while ((await lines()) < before + 10);
    await assert.rejects(agent.client.attach('other', { stdout: 0, stderr: 0 }, new Collector(), signal()), {
      code: 'not-found',
    });
    await again.closeStdin();
    await sink.finished();
    again.release();
  });

  test('keeps a name free that it does not know', async () => {
    await agent.client.renew('nobody', signal());
    assert.deepEqual(await agent.client.list(signal()), []);
    await agent.client.require('checkpoint', signal());
  });
});
