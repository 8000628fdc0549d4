import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { delay } from '../platform/wait.ts';
import { runToExit } from './run-to-exit.ts';
import { AgentHarness } from './testing/agent-harness.ts';

describe('a program that is run to its exit', () => {
  let agent: AgentHarness;
  before(async () => {
    agent = await AgentHarness.start();
  });
  after(() => agent[Symbol.asyncDispose]());

  const forgotten = async () => {
    while ((await agent.client.list(agent.deadline())).length > 0) await delay(5);
  };

  /** Runs it; `onOutput` is told all of standard output so far whenever there is more. */
  async function run(
    script: string,
    { onOutput = (_all: string) => {}, signal = agent.deadline() } = {},
  ): Promise<{ exit: Awaited<ReturnType<typeof runToExit>>; stdout: string; stderr: string }> {
    const text = { stdout: '', stderr: '' };
    const { id, env, cwd } = agent.request([]);
    const request = { id, env, cwd, argv: ['sh', '-c', script], timeoutMs: 60_000 } as const;
    const exit = await runToExit(
      agent.client,
      { ...request, stdout: 'pipe', stderr: 'pipe' },
      (stream, chunk) => {
        text[stream] += chunk.toString();
        if (stream === 'stdout') onOutput(text.stdout);
      },
      signal,
    );
    return { exit, ...text };
  }

  test('gives its exit and all of its output, and is forgotten', async () => {
    const { exit, stdout, stderr } = await run('echo out; echo err >&2; exit 3');
    assert.deepEqual([exit.kind, exit.value, stdout, stderr], ['code', 3, 'out\n', 'err\n']);
    await forgotten();
  });

  test('goes on though the connection breaks, without losing or repeating output', async () => {
    const pause = join(agent.directory, 'go');
    let cut = false;
    const { exit, stdout } = await run(`echo one; until [ -e ${pause} ]; do sleep 0.01; done; echo two`, {
      onOutput: () => {
        if (cut) return;
        cut = true;
        agent.cutConnections();
        void agent.exec(['touch', pause]);
      },
    });
    assert.deepEqual([exit.value, stdout], [0, 'one\ntwo\n']);
    await forgotten();
  });

  test('is killed and forgotten when its caller gives it up', async () => {
    const stop = new AbortController();
    let pid = 0;
    const running = run('echo $$; exec sleep 1000', {
      onOutput: (all) => {
        pid = Number(all);
        stop.abort(new Error('enough'));
      },
      signal: stop.signal,
    });
    await assert.rejects(running, /enough/);
    await forgotten();
    await assert.rejects(readFile(`/proc/${pid}/stat`));
  });

  test('is killed and forgotten though the connection breaks as its caller gives it up', async () => {
    const stop = new AbortController();
    const running = run('echo $$; exec sleep 1000', {
      onOutput: () => {
        agent.cutConnections();
        stop.abort(new Error('enough'));
      },
      signal: stop.signal,
    });
    await assert.rejects(running, /enough/);
    await forgotten();
  });

  test('that is not there says so', async () => {
    const request = { ...agent.request([]), argv: ['/nowhere'], timeoutMs: 1000 };
    const running = runToExit(agent.client, request, () => {}, agent.deadline());
    await assert.rejects(running, { code: 'program-not-found' });
    await forgotten();
  });
});
