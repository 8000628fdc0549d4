/** Servers that stand in for each other and share the work, with sandboxes that are Pods of a real cluster: `npm run test:kubernetes`. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { delay } from '../../server/src/platform/wait.ts';
import { noPostgres } from '../../server/src/store/testing/postgres.ts';
import { runPython } from '../support/clients.ts';
import { startDriver } from '../support/driver.ts';
import type { TestServer } from '../support/server.ts';
import { several, takeOvers, untilItLeads } from '../support/several.ts';
import { patient } from '../support/slowness.ts';
import { kubeconfig, printTimes, registry } from './cluster.ts';

const flags = [
  ...['--engine', 'kubernetes', '--kubeconfig', kubeconfig, '--registry', `${registry}/skerry`],
  ...['--insecure-registries', registry],
];

test('any answers, and what runs goes on when the one that leads is lost or stops', {
  skip: noPostgres,
}, async () => {
  await using all = await several(...flags);
  printTimes({ 'the server that leads is lost, until a stream goes on': [await takeOvers(all)] });
});

/** Through any server, whoever keeps them. */
const use = `
import modal
app = modal.App.lookup("sharing")
found = {sandbox.get_tags()["number"]: sandbox for sandbox in modal.Sandbox.list(app_id=app.app_id)}
assert sorted(found) == ["0", "1", "2", "3"], found
for number, sandbox in found.items():
    assert sandbox.poll() is None
    assert sandbox.exec("cat", "/file").stdout.read() == number
    assert sandbox.exec("sh", "-c", "head -c 3000000 /dev/zero").stdout.read() == chr(0) * 3000000
    assert modal.Sandbox.from_name("sharing", f"kept-{number}").object_id == sandbox.object_id
image = found["0"].snapshot_filesystem(timeout=240)
copy = modal.Sandbox.create("cat", "/file", app=app, image=image)
assert copy.stdout.read() == "0"
copy.wait()
assert copy.returncode == 0
`;

const keeps = (server: TestServer, sandbox: string) =>
  new RegExp(`"sandbox":"${sandbox}".*sandbox\\.started`).test(server.log());

/** As the command does. */
async function ask({ url, clientEnv }: TestServer, path: string): Promise<unknown> {
  const { MODAL_TOKEN_ID: id, MODAL_TOKEN_SECRET: secret } = clientEnv;
  const response = await fetch(`${url}${path}`, { headers: { authorization: `Bearer ${id}:${secret}` } });
  return response.json();
}

async function untilItKeeps(server: TestServer): Promise<void> {
  const signal = AbortSignal.timeout(patient(60_000));
  while (!/server\.keeps-sandboxes/.test(server.log())) await delay(20, signal);
}

test('others keep sandboxes too; any answers for all, and all go on whichever server is lost', {
  skip: noPostgres,
}, async () => {
  await using all = await several(...flags);
  const [leader, one, two] = [await all.start(), await all.start(), await all.start()];
  await Promise.all([untilItKeeps(one), untilItKeeps(two)]);
  await using driver = startDriver(two, 'e2e/restart/sharing.py');
  const sandboxes = (await driver.expect('ready')).sandboxes as string[];
  for (const server of [one, two]) {
    const count = sandboxes.filter((sandbox) => keeps(server, sandbox)).length;
    assert.equal(count, 2, `one of two keeps half:\n${server.log()}`);
  }
  const { servers } = (await ask(one, '/skerry/v1/records')) as {
    servers: { leads: boolean; sandboxes: number }[];
  };
  assert.deepEqual(
    servers.map(({ leads, sandboxes: count }) => [leads, count]),
    [
      [true, 0],
      [false, 2],
      [false, 2],
    ],
    'what skerry status shows',
  );
  for (const server of [leader, one, two]) {
    const program = await runPython(server, use);
    assert.equal(program.code, 0, program.stderr);
  }
  const begin = performance.now();
  await one.lose();
  driver.send('one is lost');
  await driver.expect('all go on without one');
  printTimes({
    'a server that keeps sandboxes is lost, until all go on': [(performance.now() - begin) / 1000],
  });
  await driver.expect('one survived');
  await leader.lose();
  driver.send('leader is lost');
  await driver.expect('all go on without leader');
  await driver.expect('leader survived');
  await untilItLeads(two);
  await driver.expect('ended');
  await driver.end();
  assert.deepEqual(two.errors(), []);
});
