/**
 * The server is killed at random moments while the memory of a sandbox is kept, restored, forked and gone back to, and while it is put to sleep and wakes, under gVisor: what is found
 * afterwards is the state before or the one after. `npm run test:crash` does it 100 times and keeps a record.
 */
import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import { appendFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { z } from 'zod';
import { callControlPlane } from '../../cli/src/control-plane.ts';
import { askServer } from '../../cli/src/operator.ts';
import { ModboxClient, ModboxError, type Sandbox } from '../../modbox-sdk/src/index.ts';
import { delay } from '../../server/src/platform/wait.ts';
import { accessOf } from '../support/command.ts';
import { skipWithout } from '../support/runtimes.ts';
import { startServer, type TestServer } from '../support/server.ts';
import { patient } from '../support/slowness.ts';

const KILLS = Number(process.env.SKERRY_TEST_KILLS) || 3;
/** A line for each kill, where this is set: what was under way. */
const record = process.env.SKERRY_TEST_RECORD;
const COPIES = 2;

/** Counts in memory and in a file, one after the other, when it is asked: they are one, or the file is about to be. In the background, so that its sandbox can sleep. */
const PROGRAM = `
import os, socket
server = socket.create_server(("", 8000)); count = 0
if os.fork(): os._exit(0)
while True:
    one, _ = server.accept()
    count += 1
    with open("/.new", "w") as file: file.write(str(count))
    os.rename("/.new", "/count")
    one.sendall(f"{count} {open('/count').read()}".encode()); one.close()
`;
const ASK = 'import socket; print(socket.create_connection(("127.0.0.1", 8000)).makefile().read())';

const skip = await skipWithout('gvisor');

describe('memory and a server that is killed', { skip }, () => {
  let server: TestServer;
  let modbox: ModboxClient;
  let original: Sandbox;
  /** What the program had counted to when each checkpoint was taken that was told. */
  const counts = new Map<string, number>();
  /** Checkpoints of other tests. */
  let foreign: ReadonlySet<string>;
  /** The same of those that may be there, too. */
  const possible: number[] = [];
  /** Sandboxes that are to be there beside the original. */
  let kept = new Set<string>();
  before(async () => {
    server = await startServer({ runtime: 'gvisor' });
    foreign = new Set(checkpoints());
    modbox = new ModboxClient({ token: server.clientEnv.MODBOX_API_TOKEN, baseUrl: server.url });
    const taskId = 'original';
    await modbox.provisionSandbox({ taskId, imageId: 'python:3.11-slim', ttlSeconds: 86_400 });
    original = await modbox.waitForSandbox({ taskId, timeout: patient(60) });
    const quietly = ['sh', '-c', 'exec python3 -c "$0" </dev/null >/dev/null 2>&1', PROGRAM];
    const { exitCode } = await modbox.connect(original).exec({ argv: quietly });
    assert.equal(exitCode, 0);
    await keep();
    for (const name of names) {
      await prepare(name);
      const startedAt = performance.now();
      await operations[name]();
      tookMs.set(name, Math.ceil(performance.now() - startedAt));
    }
    await endOthers();
  });
  after(async () => {
    await server?.stop(); // asserts that nothing of them is left on the machine
  });

  /** What its program has counted to, and it is of one moment with its files. */
  const ask = async (sandbox: Pick<Sandbox, 'sandboxUrl' | 'apiKey'>): Promise<number> => {
    const { stdout, stderr } = await modbox.connect(sandbox).exec({ argv: ['python3', '-ISc', ASK] });
    const [memory, file] = stdout.trim().split(' ').map(Number);
    assert.ok(memory !== undefined && memory === file, `${stdout}${stderr}`);
    return memory;
  };
  const keep = async () => {
    const before = await ask(original);
    possible.push(before);
    const { checkpointId } = await modbox.createCheckpoint({ taskId: 'original' });
    counts.set(checkpointId, before);
  };
  const newest = async () => {
    const [checkpoint] = await modbox.listCheckpoints({ taskId: 'original' });
    assert.ok(checkpoint);
    return checkpoint.checkpointId;
  };
  const restore = async () => {
    const request = {
      snapshotId: await newest(),
      sandboxNameOverrideType: 'SANDBOX_NAME_OVERRIDE_TYPE_NONE',
    };
    const answer = z.object({ sandboxId: z.string() });
    const { sandboxId } = await callControlPlane(accessOf(server), 'SandboxRestoreV2', request, answer);
    kept.add(sandboxId);
  };
  const fork = async () => {
    const made = await modbox.forkSandbox({ taskId: 'original', count: COPIES });
    kept = new Set([...kept, ...made.map(({ sandboxId }) => sandboxId)]);
  };
  const rollBack = async () => {
    await modbox.rollBackSandbox({ taskId: 'original', checkpointId: await newest() });
  };
  const suspend = async () => {
    const request = { method: 'POST', path: 'sandboxes/original/suspend', timeoutMs: 60_000 } as const;
    await askServer(server, server.dataDir, request, z.unknown());
  };
  const wake = async () => {
    await modbox.connect(original).exec({ argv: ['true'] });
  };
  const operations = { checkpoint: keep, suspend, wake, restore, fork, rollback: rollBack };
  const names = Object.keys(operations) as (keyof typeof operations)[]; // its own
  const prepare = async (name: keyof typeof operations) => {
    if (name === 'wake') await suspend();
  };
  /** How long each took that nobody broke off. */
  const tookMs = new Map<keyof typeof operations, number>();
  const endOthers = async () => {
    const others = (await everything()).filter((id) => id !== original.sandboxId);
    await Promise.all(
      others.map(async (taskId) => {
        await ask(await modbox.waitForSandbox({ taskId, timeout: patient(60) }));
        await modbox.destroySandbox({ taskId });
      }),
    );
    kept = new Set();
  };

  for (let round = 0; round < KILLS; round++) {
    const name = names[round % names.length] ?? 'fork';
    test(`${round + 1}: killed during a ${name}`, async (t) => {
      const momentMs = randomInt(tookMs.get(name) ?? 1);
      t.diagnostic(`${momentMs} ms into it`);
      const before = await ask(original);
      await prepare(name);
      let done = false;
      const working = operations[name]().then(
        () => {
          done = true;
        },
        (error: unknown) => {
          if (!(error instanceof ModboxError) && !/does not answer|failed/.test(String(error))) throw error;
        },
      );
      await delay(momentMs);
      const underway = done ? [] : [name];
      await server.kill9();
      await server.restart();
      await working;
      await modbox.waitForSandbox({ taskId: 'original', timeout: patient(60) });
      const now = await ask(original);
      // As it was, once more asked by what was under way or not, or as a checkpoint has it.
      const gone = [before + 1, before + 2];
      const back = possible.map((count) => count + 1);
      const expected = name === 'rollback' ? (done ? back : [...gone, ...back]) : gone;
      assert.ok(expected.includes(now), `${now} is none of ${expected}`);

      await settled();
      const others = (await everything()).filter((id) => id !== original.sandboxId);
      const fresh = others.filter((id) => !kept.has(id));
      assert.ok(
        [...kept].every((id) => others.includes(id)),
        'what was told is there',
      );
      if (name === 'fork') assert.ok(fresh.length === 0 || fresh.length === COPIES, `${fresh.length} copies`);
      else assert.ok(fresh.length <= (name === 'restore' ? 1 : 0), `${fresh.length} of a ${name}`);
      await endOthers();
      const listed = (await modbox.listCheckpoints({ taskId: 'original' })).map((each) => each.checkpointId);
      assert.ok(
        [...counts.keys()].every((id) => listed.includes(id)),
        'what was kept is there',
      );
      if (record) appendFileSync(record, `${JSON.stringify({ runtime: 'gvisor', momentMs, underway })}\n`);
    });
  }

  test('at the end nothing was an error, and there is nothing beside what was kept', async () => {
    const listed = (await modbox.listCheckpoints({ taskId: 'original' })).map((each) => each.checkpointId);
    await until(() => {
      const found = checkpoints().filter((name) => !foreign.has(name));
      return found.sort().join() === listed.sort().join();
    });
    assert.deepEqual(server.errors(), []);
  });

  const checkpoints = () => readdirSync(join(server.dataDir, 'memory-snapshots'));
  /** All sandboxes, whoever made them. */
  const everything = async () => {
    const answer = z.object({ sandboxes: z.array(z.object({ id: z.string() })).default([]) });
    const { sandboxes } = await callControlPlane(accessOf(server), 'SandboxListV2', {}, answer);
    return sandboxes.map(({ id }) => id);
  };
  /** Resolves once no copy is being ended that a killed server had begun. */
  const settled = () =>
    until(async () => {
      const found = await Promise.all((await everything()).map((taskId) => modbox.getSandbox(taskId)));
      return found.every(({ status }) => status !== 'stopping');
    });
  const until = async (holds: () => boolean | Promise<boolean>) => {
    const signal = AbortSignal.timeout(patient(60_000));
    while (!(await holds())) await delay(50, signal);
  };
});
