/** Servers that share a database and a data directory, through the official client: any of them answers, and when the one that leads is lost another goes on. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { after, before, describe, test } from 'node:test';
import { delay } from '../../server/src/platform/wait.ts';
import { noPostgres, TestPostgres } from '../../server/src/store/testing/postgres.ts';
import { runPython } from '../support/clients.ts';
import { runSkerry, skerryCommand } from '../support/command.ts';
import { startDriver } from '../support/driver.ts';
import { startServer, type TestServer } from '../support/server.ts';
import { patient } from '../support/slowness.ts';

const PATIENCE_MS = patient(60_000);

describe('several servers over one database', { skip: noPostgres }, () => {
  let postgres: TestPostgres;
  let url: string;
  const servers: TestServer[] = [];
  const start = async (beside?: TestServer) => {
    const server = await startServer({
      ...(beside ? { beside } : { freshData: true }),
      env: { SKERRY_DATABASE_URL: url },
      flags: ['--peer-host', '127.0.0.1'],
    });
    servers.push(server);
    return server;
  };

  before(async () => {
    postgres = await TestPostgres.start();
    url = postgres.createDatabase('several');
  });
  after(async () => {
    const [first, ...others] = servers;
    for (const other of others) await other.lose();
    await first?.stop(); // asserts that nothing is left on the machine
    await postgres?.stop();
  });

  const leads = async (server: TestServer) => {
    const deadline = performance.now() + PATIENCE_MS;
    while (!/server\.leads/.test(server.log())) {
      assert.ok(performance.now() < deadline, `it does not take over:\n${server.log()}`);
      await delay(20);
    }
  };

  test('any answers, and what runs goes on when the one that leads is lost or stops', async () => {
    const first = await start();
    const second = await start(first);
    await using driver = startDriver(second, 'e2e/restart/several.py');
    const { sandbox } = await driver.expect('ready');
    assert.match(first.log(), new RegExp(`"sandbox":"${sandbox}"`));
    const third = await start(second);
    await first.lose();
    driver.send('the leader is lost');
    await driver.expect('survived');
    await driver.end();
    assert.match(second.log(), /server\.leads/, 'who has waited for longer leads');
    assert.deepEqual(second.errors(), []);

    const meanwhile = await runPython(third, use);
    assert.equal(meanwhile.code, 0, meanwhile.stderr);
    assert.doesNotMatch(third.log(), /server\.leads/, 'one leads, not two');
    await second.terminate();
    await leads(third);
    const afterwards = await runPython(third, end);
    assert.equal(afterwards.code, 0, afterwards.stderr);
    assert.deepEqual(third.errors(), []);
  });

  test('`skerry up` says that it stands by, and the command finds that server', async () => {
    const [leader] = servers;
    assert.ok(leader);
    const flags = ['--port', '0', '--peer-host', '127.0.0.1', '--warm-pool', 'off', '--runtime', 'runc'];
    const [node, ...command] = skerryCommand(leader, 'up', '--foreground', ...flags);
    const up = spawn(node, command, {
      env: { ...process.env, SKERRY_DATABASE_URL: url },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const said: string[] = [];
    for await (const line of createInterface({ input: up.stdout })) {
      said.push(line);
      if (line.includes('skerry env')) break;
    }
    assert.match(said.join('\n'), /stands by at (.*)\nAnother server of its database leads/s);
    up.stdout.resume();
    assert.match(await runSkerry(leader, 'status'), /running/);
    const exit = once(up, 'exit');
    up.kill('SIGTERM');
    assert.deepEqual(await exit, [0, null]);
  });

  test('one with another data directory is refused', async () => {
    await assert.rejects(
      startServer({
        freshData: true,
        env: { SKERRY_DATABASE_URL: url },
        flags: ['--peer-host', '127.0.0.1'],
      }),
      /belongs to another data directory/,
    );
  });
});

const use = `
import modal
sandbox = modal.Sandbox.from_name("several", "kept")
assert sandbox.exec("echo", "again").stdout.read() == "again\\n"
`;
const end = `${use}
sandbox.terminate()
assert sandbox.stdout.read() == "begun\\n"
`;
