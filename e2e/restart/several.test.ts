/** Servers that share a database and a data directory, through the official client: any of them answers, and when the one that leads is lost another goes on. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { after, before, describe, test } from 'node:test';
import pg from 'pg';
import { noPostgres } from '../../server/src/store/testing/postgres.ts';
import { runPython } from '../support/clients.ts';
import { runSkerry, skerryCommand } from '../support/command.ts';
import { startServer, untilDead } from '../support/server.ts';
import { type Several, several, takeOvers, untilItLeads } from '../support/several.ts';

const create = `
import modal
app = modal.App.lookup("several")
image = modal.Image.from_scratch().add_local_file("/bin/busybox", "/bin/busybox", copy=True)
assert modal.Sandbox.create("/bin/busybox", "echo", "hello", app=app, image=image).stdout.read() == "hello\\n"
`;

/** Ends the one that holds the leader's lock, as a network may. */
async function breakConnection(databaseUrl: string): Promise<void> {
  const client = new pg.Client({ connectionString: databaseUrl });
  await client.connect();
  const ended = await client.query(
    `SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted AND objid = 1
     AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`,
  );
  await client.end();
  assert.equal(ended.rowCount, 1);
}

describe('several servers over one database', { skip: noPostgres }, () => {
  let all: Several;
  before(async () => {
    all = await several();
  });
  after(() => all?.[Symbol.asyncDispose]());

  test('any answers, and what runs goes on when the one that leads is lost or stops', async () => {
    await takeOvers(all);
  });

  test('one that stood still while another began to lead ends when it goes on, and stands by', async () => {
    const leader = all.servers.at(-1);
    assert.ok(leader);
    const next = await all.start();
    const pid = leader.pid;
    process.kill(pid, 'SIGSTOP');
    await breakConnection(all.databaseUrl);
    await untilItLeads(next);
    process.kill(pid, 'SIGCONT');
    await untilDead(pid);
    assert.match(leader.log(), /this server leads no more: another server leads/);
    for (const server of [next, leader]) {
      const program = await runPython(server, create); // of the other one the port is kept, and the next process answers
      assert.equal(program.code, 0, program.stderr);
    }
  });

  test('`skerry up` says that it stands by, and the command finds that server', async () => {
    const [first] = all.servers;
    assert.ok(first);
    const flags = ['--port', '0', '--peer-host', '127.0.0.1', '--warm-pool', 'off', '--runtime', 'runc'];
    const [node, ...command] = skerryCommand(first, 'up', '--foreground', ...flags);
    const up = spawn(node, command, {
      env: { ...process.env, SKERRY_DATABASE_URL: all.databaseUrl },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const said: string[] = [];
    for await (const line of createInterface({ input: up.stdout })) {
      said.push(line);
      if (line.includes('skerry env')) break;
    }
    assert.match(said.join('\n'), /stands by at (.*)\nAnother server of its database leads/s);
    up.stdout.resume();
    assert.match(await runSkerry(first, 'status'), /running/);
    const exit = once(up, 'exit');
    up.kill('SIGTERM');
    assert.deepEqual(await exit, [0, null]);
  });

  test('one with another data directory is refused', async () => {
    const env = { SKERRY_DATABASE_URL: all.databaseUrl };
    await assert.rejects(
      startServer({ freshData: true, env, flags: ['--peer-host', '127.0.0.1'] }),
      /belongs to another data directory/,
    );
  });
});
