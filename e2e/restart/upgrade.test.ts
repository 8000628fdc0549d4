/**
 * An upgrade as `git pull` and `skerry restart` do it: a server of an earlier commit, whose sandboxes go on under this one. Its TypeScript comes from the clone's own history. Its
 * programs in Rust, and the packages of both, are this build's, as others would take minutes to make: what servers do about agents of other versions is in
 * `server/src/sandboxes/agent-versions.test.ts`.
 */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { run } from '../../server/src/platform/command.ts';
import { migrations } from '../../server/src/store/migrations.ts';
import { startDriver } from '../support/driver.ts';
import { projectRoot, startServer, type TestServer } from '../support/server.ts';
import { patient } from '../support/slowness.ts';

/** Of schema 25: before quotas, webhooks that outlive a restart, and traces. */
const EARLIER = 'a0274cd1f7549b44246e502b54dfbb32a33c5ca2';
const TIMEOUT_MS = patient(30_000);

const git = (...args: string[]) => run(['git', '-C', projectRoot, ...args], { timeoutMs: TIMEOUT_MS });
const isThere = await git('cat-file', '-e', `${EARLIER}^{commit}`).then(
  () => true,
  () => false,
);

describe('an upgrade', { skip: isThere ? false : `the clone has no history with ${EARLIER}` }, () => {
  const scratch = mkdtempSync(join(tmpdir(), 'e2e-upgrade-'));
  const earlier = join(scratch, 'earlier');
  /** Where the code is that runs, as a checkout is before and after a pull. */
  const checkout = join(scratch, 'checkout');
  const main = (root: string) => join(root, 'server/src/main.ts');
  const checkOut = (root: string) => {
    symlinkSync(root, `${checkout}.new`);
    renameSync(`${checkout}.new`, checkout);
  };
  let server: TestServer;

  before(async () => {
    mkdirSync(earlier);
    await git('archive', '--output', join(scratch, 'earlier.tar'), EARLIER);
    await run(['tar', '-xf', join(scratch, 'earlier.tar'), '-C', earlier], { timeoutMs: TIMEOUT_MS });
    for (const built of ['node_modules', 'target'])
      symlinkSync(join(projectRoot, built), join(earlier, built));
    checkOut(earlier);
    server = await startServer({ runtime: 'runc', freshData: true, main: main(checkout) });
  });
  after(async () => {
    await server?.stop(); // asserts that nothing is left
    rmSync(scratch, { recursive: true, force: true });
  });

  test('leaves sandboxes, what runs in them and what they have as they were, and cannot be gone back on', async () => {
    const old = (await import(join(earlier, 'server/src/store/migrations.ts'))) as { migrations: unknown[] };
    assert.ok(old.migrations.length < migrations.length, 'the database is of an earlier version');
    await using driver = startDriver(server, 'e2e/restart/upgrade.py');
    const { sandbox } = await driver.expect('before');
    checkOut(projectRoot);
    await server.restartGracefully();
    driver.send('go on');
    assert.deepEqual(await driver.expect('after'), {
      ...{ event: 'after', across: 'across\n', read: 'written\nkept\nopened\n', printed: 'new\n', code: 7 },
      ...{ found: sandbox, begun: 'begun\n', result: 137 },
    });
    await driver.end();
    assert.deepEqual(server.errors(), []);

    await server.terminate();
    const back = run([process.execPath, main(earlier), '--data-dir', server.dataDir], {
      timeoutMs: TIMEOUT_MS,
    });
    await assert.rejects(back, /used by a newer Skerry: its database has schema/);
  });
});
