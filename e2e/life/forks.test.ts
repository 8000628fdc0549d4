/** Copies of a running sandbox, and one that goes back to what it was, over the REST interface and by the command. */
import assert from 'node:assert/strict';
import { existsSync, readdirSync } from 'node:fs';
import net from 'node:net';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { after, before, describe, test } from 'node:test';
import { ConflictError, ModboxClient, QuotaError, type Sandbox } from '../../modbox-sdk/src/index.ts';
import { run } from '../../server/src/platform/command.ts';
import { announce, conceal, runSkerry } from '../support/command.ts';
import { skipWithout } from '../support/runtimes.ts';
import { startServer, type TestServer } from '../support/server.ts';
import { patient } from '../support/slowness.ts';

const skip = await skipWithout('gvisor');

/** Has a secret in its memory and counts; whoever asks at /ask hears of both, and leaves a trace in a file that is open. */
const PROGRAM = `
import os, socket, threading
secret = os.urandom(8).hex(); asked = 0; plain = "-".join(["kept", "in", "memory"]) * 1000; log = open("/asked", "w+")
server = socket.create_server(("", 8000))
print("serving", flush=True)
while True:
    one, _ = server.accept(); asked += 1; log.write("x"); log.flush()
    one.sendall(f"{secret} {asked} {os.urandom(8).hex()}".encode()); one.close()
`;
const ASK = 'import socket; print(socket.create_connection(("127.0.0.1", 8000)).makefile().read())';
const MAX_SANDBOXES = 7;

describe('copies of a running sandbox', {
  skip,
  timeout: patient(600_000),
}, () => {
  let server: TestServer;
  let modbox: ModboxClient;
  let original: Sandbox;
  before(async () => {
    const flags = ['--max-sandboxes', String(MAX_SANDBOXES), '--encrypt-memory-snapshots', 'on'];
    server = await startServer({ runtime: 'gvisor', flags });
    announce(server);
    modbox = new ModboxClient({ token: server.clientEnv.MODBOX_API_TOKEN, baseUrl: server.url });
    const taskId = 'original';
    const ports = [{ port: 8000, plain: true }];
    await modbox.provisionSandbox({ taskId, imageId: 'python:3.11-slim', ttlSeconds: 3600, ports });
    original = await modbox.waitForSandbox({ taskId, timeout: patient(60) });
    const { processId } = await modbox.connect(original).startProcess({ argv: ['python3', '-c', PROGRAM] });
    for await (const event of modbox.connect(original).followProcess(processId)) {
      assert.deepEqual(event, { type: 'stdout', text: 'serving\n' });
      break;
    }
  });
  after(async () => {
    if (server) conceal(server);
    await server?.stop(); // asserts that nothing of them is left on the machine
  });

  const say = async (sandbox: Sandbox, ...argv: string[]) => {
    const { stdout, stderr, exitCode } = await modbox.connect(sandbox).exec({ argv });
    assert.equal(exitCode, 0, stderr);
    return stdout.trim();
  };
  const ask = async (sandbox: Sandbox) => {
    const [secret, asked, fresh] = (await say(sandbox, 'python3', '-ISc', ASK)).split(' ');
    return { secret, asked: Number(asked), fresh };
  };
  const skerry = async (...args: string[]) => (await runSkerry(server, ...args)).split('\n');
  const forks = () =>
    readdirSync(join(server.dataDir, 'memory-snapshots')).filter((name) => name.startsWith('fk-'));
  const end = (sandboxes: readonly Sandbox[]) =>
    Promise.all(sandboxes.map(({ sandboxId }) => modbox.destroySandbox({ taskId: sandboxId })));

  test('all go on where the original is, which goes on itself', async () => {
    const before = await ask(original);
    const copies = await modbox.forkSandbox({ taskId: 'original', taskIds: ['a', 'b', 'c'] });
    assert.deepEqual(
      copies.map(({ taskId, status }) => [taskId, status]),
      ['a', 'b', 'c'].map((taskId) => [taskId, 'running']),
    );
    assert.deepEqual(forks(), []);
    const told = await Promise.all([original, ...copies].map(ask));
    assert.deepEqual(
      new Set(told.map(({ secret, asked }) => `${secret} ${asked}`)),
      new Set([`${before.secret} 2`]),
    );
    assert.equal(new Set(told.map(({ fresh }) => fresh)).size, 4);
    for (const copy of copies) {
      assert.equal(
        await say(copy, 'sh', '-c', 'echo $MODAL_SANDBOX_ID; cat /asked'),
        `${copy.sandboxId}\nxx`,
      );
    }
    assert.equal((await modbox.getSandbox('b')).sandboxId, copies[1]?.sandboxId);
    const [process] = await modbox.connect(original).listProcesses();
    assert.equal(process?.status, 'running');
    // A copy is a sandbox like any other: of one that ended the files of the others stay, and it can be copied itself.
    const [first, ...others] = copies;
    assert.ok(first);
    await end(others);
    const [again] = await modbox.forkSandbox({ taskId: 'a' });
    assert.ok(again);
    assert.equal(again.taskId, again.sandboxId);
    assert.deepEqual([(await ask(again)).asked, (await ask(first)).asked], [3, 3]);
    await end([first, again]);
  });

  test('by the command, with names', async () => {
    const made = await skerry('fork', original.sandboxId, '-n', '2', '--name', 'worker');
    const ids = made.map((line) => line.split('  '));
    assert.deepEqual(
      ids.map(([, name]) => name),
      ['worker-1', 'worker-2'],
    );
    const [byName = ''] = await skerry('fork', 'worker-2', '--json');
    const { id } = JSON.parse(byName) as { id: string };
    const copies = await Promise.all(
      [...ids.map(([each = '']) => each), id].map((each) => modbox.getSandbox(each)),
    );
    assert.ok(copies.every(({ status }) => status === 'running'));
    assert.equal(new Set(await Promise.all(copies.map(async (copy) => (await ask(copy)).secret))).size, 1);
    await assert.rejects(skerry('fork', 'worker-1', '--name', 'worker-2'), /named 'worker-2' already exists/);
    await assert.rejects(skerry('fork', 'nobody'), /no sandbox for task "nobody"/);
    await end(copies);
  });

  test('what is kept of it can be listed, and is not to be read on the disk', async () => {
    const [id = ''] = await skerry('checkpoint', 'create', 'original');
    const [listed = ''] = await skerry('checkpoint', 'list', original.sandboxId);
    assert.match(listed, new RegExp(`^${id}  .* until `));
    const find = ['grep', '-r', '--binary-files=text', '-q'] as const;
    const kept = join(server.dataDir, 'memory-snapshots', id);
    await run([...find, 'skerry-sealed', kept]);
    assert.equal((await run([...find, 'kept-in-memory', kept], { okCodes: [1] })).code, 1);
    // What is written to be encrypted does not count for the sandbox: it has not so much memory.
    const taskId = 'full';
    await modbox.provisionSandbox({ taskId, imageId: 'python:3.11-slim', memoryMiB: 160 });
    const full = await modbox.waitForSandbox({ taskId, timeout: patient(60) });
    const fill =
      'import os, time; kept = os.urandom(100 << 20); print("filled", flush=True); time.sleep(1000)';
    const { processId } = await modbox.connect(full).startProcess({ argv: ['python3', '-c', fill] });
    for await (const { type } of modbox.connect(full).followProcess(processId)) {
      assert.equal(type, 'stdout');
      break;
    }
    const [ofFull = ''] = await skerry('checkpoint', 'create', 'full');
    const [process] = await modbox.connect(full).listProcesses();
    assert.equal(process?.status, 'running');
    await end([full]);
    const all = await skerry('checkpoint', 'list');
    assert.match(all[0] ?? '', new RegExp(`^${ofFull}  .* of ${full.sandboxId}$`));
    await skerry('checkpoint', 'delete', ofFull, id);
    const left = await skerry('checkpoint', 'list', '--json');
    assert.ok(!left.some((line) => line.includes(ofFull) || line.includes(id)));
    assert.ok(!existsSync(kept));
    await assert.rejects(skerry('checkpoint', 'delete', id), /There is no snapshot/);
  });

  test('it goes back to what it was, under its id, its name and its addresses', async () => {
    const inside = modbox.connect(original);
    const [tunnel] = await inside.tunnels();
    const reached = async () => {
      const { host = '', port = 0 } = tunnel?.plain ?? {};
      const connection = net.connect({ host, port, allowHalfOpen: true });
      return (await text(connection)).split(' ');
    };
    const [secret, asked] = await reached();
    const { checkpointId } = await modbox.createCheckpoint({ taskId: 'original' });
    await reached();
    await reached();
    await inside.writeFile('/written', 'since');
    const { processId } = await inside.startProcess({ argv: ['sleep', '1000'] });
    for (const rollBack of [
      () => modbox.rollBackSandbox({ taskId: 'original', checkpointId }),
      async () => {
        const [said = ''] = await skerry('rollback', 'original', checkpointId, '--json');
        assert.deepEqual(JSON.parse(said), { id: original.sandboxId, checkpoint: checkpointId });
      },
    ]) {
      await rollBack();
      const { sandboxId, status } = await modbox.getSandbox('original');
      assert.deepEqual([sandboxId, status], [original.sandboxId, 'running']);
      assert.deepEqual(await inside.tunnels(), [tunnel]);
      const [same, next] = await reached();
      assert.deepEqual([same, Number(next)], [secret, Number(asked) + 1]);
      assert.equal((await say(original, 'cat', '/asked')).length, Number(asked) + 1);
      assert.equal(await say(original, 'sh', '-c', 'test -e /written || echo gone'), 'gone');
    }
    const sleeping = (await inside.listProcesses()).find((each) => each.processId === processId);
    assert.deepEqual([sleeping?.status, sleeping?.exitCode], ['exited', 137]);
    const listed = await modbox.listCheckpoints({ taskId: 'original' });
    assert.equal(listed[0]?.checkpointId, checkpointId);
    await assert.rejects(skerry('rollback', 'original', 'sn-0000000000000000000000'), /There is no snapshot/);
    await modbox.deleteCheckpoint({ taskId: 'original', checkpointId });
    await assert.rejects(skerry('rollback', 'original', checkpointId), /There is no snapshot/);
  });

  test('all of them, or none', async () => {
    const before = await ask(original);
    const taken = modbox.forkSandbox({ taskId: 'original', taskIds: ['x', 'y', 'original'] });
    await assert.rejects(taken, (error) => error instanceof ConflictError && /original/.test(error.message));
    const tooMany = modbox.forkSandbox({ taskId: 'original', count: MAX_SANDBOXES });
    await assert.rejects(
      tooMany,
      (error) => error instanceof QuotaError && /7 sandboxes/.test(error.message),
    );
    assert.deepEqual(
      (await modbox.listSandboxes()).map(({ taskId }) => taskId),
      ['original'],
    );
    assert.deepEqual(forks(), []);
    assert.deepEqual((await ask(original)).asked, before.asked + 1);
  });
});
