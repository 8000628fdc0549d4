/** A server with its records in PostgreSQL, through the official client: all is there when the server was killed, and what runs goes on while the database is away. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { run } from '../../server/src/platform/command.ts';
import { nodeFlags } from '../../server/src/platform/node-flags.ts';
import { delay } from '../../server/src/platform/wait.ts';
import { noPostgres, PASSWORD, TestPostgres } from '../../server/src/store/testing/postgres.ts';
import { runPython } from '../support/clients.ts';
import { announce, conceal, runSkerry } from '../support/command.ts';
import { startDriver } from '../support/driver.ts';
import { projectRoot, startServer, type TestServer } from '../support/server.ts';
import { patient } from '../support/slowness.ts';

const PATIENCE_MS = patient(30_000);

describe('a server with its records in PostgreSQL', { skip: noPostgres }, () => {
  let postgres: TestPostgres;
  let server: TestServer;

  before(async () => {
    postgres = await TestPostgres.start();
    const url = postgres.createDatabase('skerry');
    server = await startServer({ freshData: true, env: { SKERRY_DATABASE_URL: url } });
  });
  after(async () => {
    await postgres?.stop();
    await server?.stop(); // asserts that nothing is left on the machine, which needs no records
  });

  const untilReady = async () => {
    const deadline = performance.now() + PATIENCE_MS;
    while (!(await fetch(`${server.url}/readyz`)).ok) {
      assert.ok(performance.now() < deadline, 'the server is not ready');
      await delay(50);
    }
  };

  test('loses nothing when it is killed, and goes on while the database is away', async () => {
    await using driver = startDriver(server, 'e2e/restart/postgres.py');
    await driver.expect('ready');
    await server.kill9();
    await server.restart();
    driver.send('server was killed');
    await driver.expect('survived');
    assert.deepEqual(server.errors(), []);
    await postgres.kill();
    driver.send('database was killed');
    const { refused } = await driver.expect('without');
    assert.match(String(refused), /^The database at .* does not answer/);
    assert.doesNotMatch(String(refused), new RegExp(PASSWORD));
    const ready = await fetch(`${server.url}/readyz`);
    assert.equal(ready.status, 503);
    assert.match(await ready.text(), /"reasons":\["no-database"\]/);
    announce(server);
    const away = await runSkerry(server, 'status');
    assert.match(away, /^records +! The database at .* does not answer.*\n +→ Start it/m);
    assert.ok(!away.includes(PASSWORD));
    await postgres.resume();
    await untilReady();
    const { records } = JSON.parse(await runSkerry(server, 'status', '--json'));
    conceal(server);
    assert.equal(records.database, 'PostgreSQL');
    assert.ok(records.version !== '' && records.roundTripMs > 0, JSON.stringify(records));
    driver.send('database is back');
    await driver.expect('done');
    await driver.end();
  });

  test('tells nobody the password', () => {
    assert.doesNotMatch(server.log(), new RegExp(PASSWORD));
    assert.doesNotMatch(readFileSync(`/proc/${server.pid}/cmdline`, 'utf8'), new RegExp(PASSWORD));
  });

  test('is not started on that directory without its database', async () => {
    const main = join(projectRoot, 'server/src/main.ts');
    await server.terminate();
    const alone = run([process.execPath, ...nodeFlags, main, '--data-dir', server.dataDir, '--port', '0']);
    await assert.rejects(alone, /are in PostgreSQL: say where/);
    await server.restart();
    const left = `${common}\nmodal.Sandbox.create("sleep", "3600", app=app, image=image)`;
    const made = await runPython(server, left);
    assert.equal(made.code, 0, made.stderr);
  });
});

const common = `
import io, modal
app = modal.App.lookup("moved", create_if_missing=True)
image = (
    modal.Image.from_scratch()
    .add_local_file("/bin/busybox", "/bin/busybox", copy=True)
    .dockerfile_commands(['RUN ["/bin/busybox", "--install", "-s", "/bin"]', "ENV PATH=/bin"])
)
volume = modal.Volume.from_name("moved", create_if_missing=True)
`;
const make = `${common}
with volume.batch_upload() as batch:
    batch.put_file(io.BytesIO(b"uploaded"), "file")
sandbox = modal.Sandbox.create("sh", "-c", "echo begun; sleep 3600", app=app, image=image, name="runs", tags={"a": "b"}, volumes={"/vol": volume})
sandbox.exec("sh", "-c", "echo written > /vol/written").wait()
print(sandbox.object_id)
`;
const use = `${common}
sandbox = modal.Sandbox.from_name("moved", "runs")
assert sandbox.exec("cat", "/vol/file").stdout.read() == "uploaded"
assert [s.object_id for s in modal.Sandbox.list(app_id=app.app_id, tags={"a": "b"})] == [sandbox.object_id]
print(sandbox.object_id)
`;
const useCopy = `${common}
sandbox = modal.Sandbox.create("cat", "/vol/file", "/vol/written", app=app, image=image, volumes={"/vol": volume})
assert sandbox.stdout.read() == "uploadedwritten\\n"
`;

test('records move from SQLite while sandboxes run, and from there into a backup', {
  skip: noPostgres,
}, async (t) => {
  const postgres = await TestPostgres.start();
  const scratch = mkdtempSync(join(tmpdir(), 'e2e-moved-'));
  const servers: TestServer[] = [];
  t.after(async () => {
    for (const each of servers) await each.stop();
    await postgres.stop();
    rmSync(scratch, { recursive: true });
  });
  mkdirSync(join(scratch, 'skerry'));
  const config = join(scratch, 'skerry/config.json');
  const dataDir = join(scratch, 'data');
  mkdirSync(dataDir);
  const server = await startServer({ dataDir, freshData: true, env: { XDG_CONFIG_HOME: scratch } });
  servers.push(server);
  const made = await runPython(server, make);
  assert.equal(made.code, 0, made.stderr);

  await server.terminate();
  writeFileSync(config, JSON.stringify({ databaseUrl: postgres.createDatabase('moved') }), { mode: 0o600 });
  const { rows } = JSON.parse(await runSkerry(server, 'move-records', '--config', config, '--json'));
  assert.ok(rows > 10, `${rows} rows`);
  await server.restart();
  const used = await runPython(server, use);
  assert.deepEqual([used.code, used.stdout], [0, made.stdout], used.stderr);

  announce(server);
  const [backup, keys, restored] = [
    join(scratch, 'backup'),
    join(scratch, 'keys'),
    join(scratch, 'restored'),
  ];
  assert.match(await runSkerry(server, 'backup', backup, '--keys', keys), /Backed up \d+ layers/);
  conceal(server);
  await runSkerry({ ...server, dataDir: restored }, 'restore', backup, '--keys', keys);
  const other = await startServer({ dataDir: restored, freshData: true });
  servers.push(other);
  const copied = await runPython(other, useCopy);
  assert.equal(copied.code, 0, copied.stderr);
});
