/** Servers that share a database and a data directory, through the official client: any of them answers, and when the one that leads is lost another goes on. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { after, before, describe, test } from 'node:test';
import { noPostgres } from '../../server/src/store/testing/postgres.ts';
import { runSkerry, skerryCommand } from '../support/command.ts';
import { startServer } from '../support/server.ts';
import { type Several, several, takeOvers } from '../support/several.ts';

describe('several servers over one database', { skip: noPostgres }, () => {
  let all: Several;
  before(async () => {
    all = await several();
  });
  after(() => all?.[Symbol.asyncDispose]());

  test('any answers, and what runs goes on when the one that leads is lost or stops', async () => {
    await takeOvers(all);
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
