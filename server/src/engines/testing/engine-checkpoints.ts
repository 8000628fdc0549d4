/** What an engine must do that claims checkpoints: programs go on where they were, in the instance and in each that is made of it. */
import assert from 'node:assert/strict';
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { AgentClient } from '../../agent/agent-client.ts';
import type { ProcessSink } from '../../agent/process-channel.ts';
import { settleFiles } from '../../agent/settle-files.ts';
import { newMemorySnapshotId } from '../../ids.ts';
import { delay } from '../../platform/wait.ts';
import { createLogger } from '../../telemetry/logger.ts';
import type { Instance } from '../engine.ts';
import { type EngineSuite, signal } from './engine-suite.ts';
import { shell } from './guest.ts';
import { TestContent } from './test-content.ts';

/** Counts in memory, with an open file, a pipe to a child, a timer and a server on port 8000. */
const PROGRAM = `exec 3>/open; httpd -p 8000 -h /data; n=0
while :; do n=$((n+1)); echo $n >&3; echo $n; sleep 0.1; done | while read x; do echo $x > /last; echo count $x; done`;

export function engineCheckpoints(suite: () => EngineSuite): void {
  describe('checkpoints', { timeout: 120_000 }, () => {
    const agentOf = (instance: Instance) =>
      new AgentClient((abort) => instance.dial(abort), createLogger('silent'));

    it('programs go on, in the instance and in two others at once; a build that did not make it refuses it', async (t) => {
      if (!suite().capabilities.checkpoints) return t.skip('claims none');
      const { content, layer, harness } = suite();
      const to = newMemorySnapshotId();
      const made = TestContent.ref('of-checkpoint');
      await suite().using({}, async (instance) => {
        const agent = agentOf(instance);
        for (const id of ['main', 'other']) await start(agent, id, id === 'main' ? PROGRAM : 'yes');
        await until(async () => (await last(instance)) >= 3);
        const before = await last(instance);
        await instance.checkpoint(to, made, { settle: () => settleFiles(instance, agent, signal()) });
        const after = await last(instance);
        assert.ok(after >= before);
        await until(async () => (await last(instance)) > after);
        assert.deepEqual((await agent.list(signal())).map(({ id }) => id).sort(), ['main', 'other']);
      });

      const copies = await Promise.all(
        ['a', 'b'].map(() => suite().create({ layers: [layer, made], from: to })),
      );
      try {
        const seen = await Promise.all(
          copies.map(async (copy) => {
            const agent = agentOf(copy);
            await agent.renew('main', signal());
            assert.deepEqual(
              (await agent.list(signal())).map(({ id }) => id),
              ['main'],
            );
            const output = await firstOutput(agent, 'main');
            const first = Number(/^count (\d+)\n/.exec(output)?.[1]); // more than a line may have come by now
            assert.ok(first > 1, output); // what it wrote just before may come as well
            await until(async () => (await last(copy)) > first);
            assert.equal(await shell(copy, 'tail -n1 /open | grep -c .'), '1');
            assert.equal(await shell(copy, 'wget -qO- http://127.0.0.1:8000/lower.txt'), 'lower');
            await shell(copy, 'pidof yes');
            return shell(copy, 'head -c8 /dev/urandom | od -An -tx1');
          }),
        );
        assert.notEqual(seen[0], seen[1]);
      } finally {
        await Promise.all(copies.map((copy) => suite().destroy(copy)));
      }

      const before = await harness.traces();
      await writeFile(
        join(content.checkpoint(to), 'build.json'),
        JSON.stringify({ name: 'another build', runsc: '0', agent: '0' }),
      );
      await assert.rejects(suite().create({ layers: [layer, made], from: to }), {
        code: 'conflict',
        message: /made by another build and .* this server has .*platform/,
      });
      await rm(content.checkpoint(to), { recursive: true });
      await assert.rejects(suite().create({ layers: [layer, made], from: to }), { code: 'not-found' });
      assert.deepEqual(await harness.traces(), before);
      await rm(content.layer(made), { recursive: true });
    });
  });
}

const nothing: ProcessSink = { write: () => undefined, eof: () => {}, exit: () => {}, lost: () => {} };

async function start(agent: AgentClient, id: string, script: string): Promise<void> {
  const argv = ['sh', '-c', script];
  const stdio = { stdin: 'null', stdout: 'pipe', stderr: 'stdout' } as const;
  await agent.start({ id, argv, env: { PATH: '/bin' }, cwd: '/', user: '', ...stdio }, nothing, signal());
}

async function firstOutput(agent: AgentClient, id: string): Promise<string> {
  const first = Promise.withResolvers<string>();
  const sink: ProcessSink = {
    ...nothing,
    write: (_stream, offset, chunk) => {
      if (offset === 0) first.resolve(chunk.toString());
      return undefined;
    },
  };
  const process = await agent.attach(id, { stdout: 0, stderr: 0 }, sink, signal());
  try {
    return await first.promise;
  } finally {
    process.detach();
  }
}

const last = async (instance: Instance): Promise<number> =>
  Number(await shell(instance, 'cat /last 2>/dev/null || echo 0'));

async function until(isSo: () => Promise<boolean>): Promise<void> {
  for (const abort = signal(); !(await isSo()); ) await delay(50, abort);
}
