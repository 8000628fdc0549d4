/** Sandboxes that are suspended and wake: by the Python client, over the REST interface, by the command, and over a crash of the server. */
import assert from 'node:assert/strict';
import { appendFileSync, copyFileSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { ModboxClient, type Sandbox } from '../../modbox-sdk/src/index.ts';
import { findRuntimes } from '../../server/src/engines/oci/runtime-choice.ts';
import { run } from '../../server/src/platform/command.ts';
import { delay } from '../../server/src/platform/wait.ts';
import { announce, conceal, runSkerry, skerryCommand } from '../support/command.ts';
import { skipWithout } from '../support/runtimes.ts';
import { startServer, type TestServer } from '../support/server.ts';
import { patient } from '../support/slowness.ts';
import { pythonCases } from './support/cases.ts';

const skip = await skipWithout('gvisor');

/** Has a secret in its memory and counts who asks. */
const PROGRAM = `
import os, socket
secret = os.urandom(8).hex(); count = 0
server = socket.create_server(("", 8000))
while True:
    one, _ = server.accept(); count += 1
    one.sendall(f"{secret} {count}".encode()); one.close()
`;
const ASK = `
import socket, time
while True:
    try: print(socket.create_connection(("127.0.0.1", 8000)).makefile().read()); break
    except ConnectionRefusedError: time.sleep(0.05)
`;

async function eventually(holds: () => boolean | Promise<boolean>): Promise<void> {
  const signal = AbortSignal.timeout(patient(30_000));
  while (!(await holds())) await delay(50, signal);
}

describe('sandboxes that are suspended', {
  skip,
  timeout: patient(600_000),
}, () => {
  let server: TestServer;
  let modbox: ModboxClient;
  let keptBefore: readonly string[];
  const scratch = mkdtempSync(join(tmpdir(), 'e2e-sleep-'));
  const runsc = join(scratch, 'runsc');
  before(async () => {
    const { gvisor } = await findRuntimes('', scratch);
    assert.ok(gvisor.ok);
    copyFileSync(gvisor.path, runsc);
    server = await startServer({
      runtime: 'gvisor',
      flags: ['--idle-action', 'suspend', '--encrypt-memory-snapshots', 'on', '--runsc-path', runsc],
    });
    keptBefore = left('memory-snapshots');
    announce(server);
    modbox = new ModboxClient({ token: server.clientEnv.MODBOX_API_TOKEN, baseUrl: server.url });
  });
  after(async () => {
    if (server) conceal(server);
    await server?.stop(); // asserts that nothing of them is left on the machine
    rmSync(scratch, { recursive: true });
  });

  const skerry = (...args: string[]) => runSkerry(server, ...args);
  const say = async (sandbox: Sandbox, ...argv: string[]) => {
    const { stdout, stderr, exitCode } = await modbox.connect(sandbox).exec({ argv });
    assert.equal(exitCode, 0, stderr);
    return stdout.trim();
  };
  const asleep = ({ sandboxId }: Sandbox) =>
    eventually(async () => (await modbox.getSandbox(sandboxId)).status === 'suspended');
  const left = (directory: string) => readdirSync(join(server.dataDir, directory));
  /** Memory that is kept for sandboxes of this file: others before it had the same data directory, and snapshots that expire later. */
  const kept = () => left('memory-snapshots').filter((name) => !keptBefore.includes(name));

  test('by the setting of the server, with the Python client', (t) =>
    pythonCases(t, server, 'sleep', {
      timeoutMs: 600_000,
      env: { SKERRY_LS: JSON.stringify(skerryCommand(server, 'ls', '--json')) },
    }));

  test('as asked for, by the command, and over a crash of the server', async () => {
    const taskId = 'sleeper';
    await modbox.provisionSandbox({
      ...{ taskId, imageId: 'python:3.11-slim' },
      ...{ ttlSeconds: 3600, ttlMode: 'idle', idleAction: 'suspend' },
    });
    const sandbox = await modbox.waitForSandbox({ taskId, timeout: patient(60) });
    await say(sandbox, 'sh', '-c', `setsid python3 -c '${PROGRAM}' >/dev/null 2>&1 &`);
    const [secret, count] = (await say(sandbox, 'python3', '-ISc', ASK)).split(' ');
    assert.equal(count, '1');
    const { processId } = await modbox.connect(sandbox).startProcess({ argv: ['sleep', '1000'] });
    await assert.rejects(skerry('suspend', taskId), /programs run that exec began/);
    const inside = modbox.connect(sandbox);
    await inside.killProcess(processId);
    for await (const _ of inside.followProcess(processId)) {
      // to its end
    }

    assert.equal(await skerry('suspend', taskId), `${sandbox.sandboxId} is suspended.`);
    assert.equal((await modbox.getSandbox(taskId)).status, 'suspended');
    assert.match(await skerry('ls'), new RegExp(`^${sandbox.sandboxId} .* suspended `, 'm'));
    assert.deepEqual(left('instances'), []);
    assert.equal(kept().length, 1);
    await server.kill9();
    await server.restart();
    announce(server);
    assert.equal((await modbox.getSandbox(taskId)).status, 'suspended');
    assert.equal(await say(sandbox, 'python3', '-ISc', ASK), `${secret} 2`);
    await eventually(() => kept().length === 0);

    const said = JSON.parse(await skerry('suspend', '--json', taskId));
    assert.deepEqual(said, { id: sandbox.sandboxId, status: 'suspended' });
    await asleep(sandbox);
    await modbox.destroySandbox({ taskId });
    assert.deepEqual([left('instances'), kept()], [[], []]);
  });

  test('under the next server, and not by another build of gVisor', async () => {
    const taskId = 'upgraded';
    await modbox.provisionSandbox({ taskId, imageId: 'python:3.11-slim' });
    const sandbox = await modbox.waitForSandbox({ taskId, timeout: patient(60) });
    await say(sandbox, 'sh', '-c', 'echo kept > /dev/shm/kept');
    await skerry('suspend', taskId);
    await server.restartGracefully();
    announce(server);
    assert.equal(await say(sandbox, 'cat', '/dev/shm/kept'), 'kept');

    await skerry('suspend', taskId);
    await server.terminate();
    appendFileSync(runsc, 'another'); // runs as well, and is not the same
    const doctor = () => run(skerryCommand(server, 'doctor', '--runsc-path', runsc), { okCodes: [0, 1] });
    const [checkpoint = ''] = kept();
    assert.match((await doctor()).stdout, new RegExp(`memory snapshots.*${checkpoint} was made by`));
    await server.restart();
    announce(server);
    assert.equal((await modbox.getSandbox(taskId)).status, 'suspended');
    const both = /made by runsc .* can be restored by that alone; this server has runsc /;
    await assert.rejects(say(sandbox, 'true'), both);
    await eventually(async () => (await modbox.getSandbox(taskId)).status === 'ended');
    await eventually(() => kept().length === 0);
  });
});
