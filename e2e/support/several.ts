/** Servers of a test over one database and one data directory, and what must go on whichever of them is lost. */
import assert from 'node:assert/strict';
import { delay } from '../../server/src/platform/wait.ts';
import { TestPostgres } from '../../server/src/store/testing/postgres.ts';
import { runPython } from './clients.ts';
import { startDriver } from './driver.ts';
import { startServer, type TestServer } from './server.ts';
import { patient } from './slowness.ts';

const PATIENCE_MS = patient(60_000);
const common = ['--peer-host', '127.0.0.1'];

export interface Several extends AsyncDisposable {
  readonly databaseUrl: string;
  /** One more; the first leads. */
  start(): Promise<TestServer>;
  readonly servers: readonly TestServer[];
}

/** @param flags of each server, beside those that it needs to be one of several */
export async function several(...flags: readonly string[]): Promise<Several> {
  const postgres = await TestPostgres.start();
  const databaseUrl = postgres.createDatabase('several');
  const servers: TestServer[] = [];
  return {
    ...{ databaseUrl, servers },
    async start() {
      const [first] = servers;
      const server = await startServer({
        ...(first ? { beside: first } : { freshData: true }),
        env: { SKERRY_DATABASE_URL: databaseUrl },
        flags: [...common, ...flags],
      });
      servers.push(server);
      return server;
    },
    async [Symbol.asyncDispose]() {
      const [first, ...others] = servers;
      for (const other of others) await other.lose();
      await first?.stop(); // asserts that nothing is left on the machine
      await postgres.stop();
    },
  };
}

/**
 * Loses the server that leads, then stops the next one, while the official client works with a sandbox through whichever is left.
 * @returns how long the sandbox's output was away when the leader was lost, seconds
 */
export async function takeOvers({ start }: Several): Promise<number> {
  const [first, second] = [await start(), await start()];
  await using driver = startDriver(second, 'e2e/restart/several.py');
  const { sandbox } = await driver.expect('ready');
  assert.match(first.log(), new RegExp(`"sandbox":"${sandbox}"`));
  const third = await start();
  const begin = performance.now();
  await first.lose();
  driver.send('the leader is lost');
  await driver.expect('goes on');
  const seconds = (performance.now() - begin) / 1000;
  await driver.expect('survived');
  await driver.end();
  assert.match(second.log(), /server\.leads/, 'who has waited for longer leads');
  assert.deepEqual(second.errors(), []);

  const meanwhile = await runPython(third, use);
  assert.equal(meanwhile.code, 0, meanwhile.stderr);
  assert.doesNotMatch(third.log(), /server\.leads/, 'one leads, not two');
  await second.terminate();
  await untilItLeads(third);
  const afterwards = await runPython(third, end);
  assert.equal(afterwards.code, 0, afterwards.stderr);
  assert.deepEqual(third.errors(), []);
  return seconds;
}

export async function untilItLeads(server: TestServer): Promise<void> {
  const deadline = performance.now() + PATIENCE_MS;
  while (!/server\.leads/.test(server.log())) {
    assert.ok(performance.now() < deadline, `it does not take over:\n${server.log()}`);
    await delay(20);
  }
}

const use = `
import modal
sandbox = modal.Sandbox.from_name("several", "kept")
assert sandbox.exec("echo", "again").stdout.read() == "again\\n"
`;
const end = `${use}
sandbox.terminate()
assert sandbox.stdout.read() == "begun\\n"
`;
