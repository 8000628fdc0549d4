import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AgentHarness } from '../agent/testing/agent-harness.ts';
import { waitUntilProbeSucceeds } from './readiness.ts';
import { eventually } from './testing/domain.ts';

/** Waits for a probe that runs `script`. */
function wait(agent: AgentHarness, script: string, signal: AbortSignal): Promise<void> {
  const { env, cwd } = agent.request([]);
  const check = { kind: 'exec', argv: ['sh', '-c', script] } as const;
  return waitUntilProbeSucceeds({ check, intervalMs: 1 }, agent.client, { env, cwd, user: '' }, signal);
}

const known = async (agent: AgentHarness) => (await agent.client.list(agent.deadline())).length;

test('a probe is tried until it succeeds, and the agent keeps none of the attempts', async () => {
  await using agent = await AgentHarness.start();
  await wait(agent, 'echo x >> tries; [ $(wc -l < tries) = 3 ]', agent.deadline());
  assert.equal((await agent.exec(['cat', 'tries'])).stdout, 'x\nx\nx\n');
  await eventually(async () => (await known(agent)) === 0);
});

test('a probe under way is killed and forgotten when the sandbox has ended', async () => {
  await using agent = await AgentHarness.start();
  const ended = new AbortController();
  const waiting = wait(agent, 'exec sleep 1000', ended.signal);
  await eventually(async () => (await known(agent)) === 1);
  ended.abort(new Error('ended'));
  await assert.rejects(waiting, /ended/);
  await eventually(async () => (await known(agent)) === 0);
});

test('a probe goes on though the connection to the agent breaks', async () => {
  await using agent = await AgentHarness.start();
  const waiting = wait(agent, 'echo x >> tries; until [ -e go ]; do sleep 0.01; done', agent.deadline());
  await eventually(async () => (await known(agent)) === 1);
  agent.cutConnections();
  await agent.exec(['touch', 'go']);
  await waiting;
  assert.equal((await agent.exec(['cat', 'tries'])).stdout, 'x\n', 'in one attempt');
  await eventually(async () => (await known(agent)) === 0);
});
