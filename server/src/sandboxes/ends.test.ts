/** What must end ends, whatever fails: the store, the engine, the machine. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { describe, it } from 'node:test';
import { aboutSqlite } from '../store/testing/open-test-store.ts';
import type { Sandbox } from './sandboxes.ts';
import { Domain, deadline, eventually, exec, text } from './testing/domain.ts';

const caughtUp = (domain: Domain) =>
  eventually(() => domain.log.some(({ msg }) => msg === 'store.caught-up'));

describe('with a store that takes nothing', () => {
  it('a sandbox is terminated at once, and the store is told when it takes it again', async () => {
    await using domain = await Domain.open();
    const sandbox = await domain.running({ name: 'worker' });
    const process = await exec(sandbox, ['sleep', '1000']);
    domain.refuseWrites(true);
    await sandbox.terminate();
    assert.deepEqual([sandbox.state, sandbox.result], ['ended', { kind: 'terminated' }]);
    assert.deepEqual(await process.wait(deadline()), { kind: 'signal', signal: 9, timedOut: false });
    assert.deepEqual(await domain.engine.traces(), []);
    await assert.rejects(exec(sandbox, ['true']), { code: 'sandbox-ended' });
    // Every look-up says what is true, not what the store still says.
    assert.equal(domain.storedState(sandbox), 'running');
    assert.equal(domain.manager.get(sandbox.id).state, 'ended');
    assert.equal(domain.manager.findByName(sandbox.spec.appId, 'worker', false), undefined);
    assert.deepEqual(domain.manager.list({ limit: 10 }), []);
    domain.refuseWrites(false);
    await caughtUp(domain);
    assert.equal(domain.storedState(sandbox), 'ended');
    assert.equal(domain.manager.size, 0);
    await using next = await domain.restart();
    const again = next.manager.get(sandbox.id);
    assert.deepEqual(again.result, { kind: 'terminated' });
    assert.deepEqual(again.process(process.id).exit, { kind: 'signal', signal: 9, timedOut: false });
    await next.running({ name: 'worker' });
  });

  it('also when it takes nothing from the middle of the end on', async () => {
    await using domain = await Domain.open();
    const sandbox = await domain.running();
    const held = domain.engine.faults.hold('destroy');
    const ending = sandbox.terminate();
    await held.reached;
    domain.refuseWrites(true);
    held.release();
    await ending;
    assert.equal(domain.storedState(sandbox), 'stopping');
    assert.deepEqual(await domain.engine.traces(), []);
    domain.refuseWrites(false);
    await caughtUp(domain);
    assert.equal(domain.storedState(sandbox), 'ended');
  });

  it('timeouts, idle timeouts, exits, crashes and failed starts end it all the same', async () => {
    await using domain = await Domain.open();
    const timed = await domain.running({ timeoutMs: 400 });
    const idle = await domain.running({ idleTimeoutMs: 400 });
    const exiting = await domain.running({ args: ['sh', '-c', 'read x; exit 5'] });
    const crashing = await domain.running();
    const held = domain.engine.faults.hold('prepare');
    const starting = await domain.create();
    await held.reached;
    domain.refuseWrites(true);
    held.release();
    await exiting.entrypoint?.closeStdin(deadline());
    await domain.instance(crashing).crash();
    assert.deepEqual(await timed.wait(60_000, deadline()), { kind: 'timeout' });
    assert.deepEqual(await idle.wait(60_000, deadline()), { kind: 'idle-timeout' });
    assert.deepEqual(await exiting.wait(60_000, deadline()), { kind: 'exited', exitCode: 5 });
    assert.equal((await crashing.wait(60_000, deadline()))?.kind, 'crashed');
    assert.equal((await starting.wait(60_000, deadline()))?.kind, 'start-failed');
    const all = [timed, idle, exiting, crashing, starting];
    await eventually(() => all.every(({ state }) => state === 'ended'));
    assert.deepEqual(await domain.engine.traces(), []);
    domain.refuseWrites(false);
    await caughtUp(domain);
    for (const sandbox of all) {
      assert.equal(domain.storedState(sandbox), 'ended');
      assert.deepEqual(domain.manager.get(sandbox.id).result, sandbox.result);
    }
    // Why it ended is told as well, though the store was full when it did.
    assert.equal(timed.events().filter(({ kind }) => kind === 'life').length, 1);
  });

  it('what runs goes on, with its output; what is new is refused, and later taken', async () => {
    await using domain = await Domain.open();
    const sandbox = await domain.running();
    const process = await exec(sandbox, ['cat']);
    domain.refuseWrites(true);
    await assert.rejects(domain.create());
    await assert.rejects(exec(sandbox, ['true']));
    await process.writeStdin(0, Buffer.from('on and on'), deadline());
    await process.closeStdin(deadline());
    assert.equal(await text(process.stdout), 'on and on');
    assert.deepEqual(await process.wait(deadline()), { kind: 'code', code: 0, timedOut: false });
    domain.refuseWrites(false);
    assert.equal(await text((await exec(sandbox, ['echo', 'again'])).stdout), 'again\n');
    await using next = await domain.restart();
    const again = next.manager.get(sandbox.id);
    assert.deepEqual(again.process(process.id).exit, { kind: 'code', code: 0, timedOut: false });
    assert.equal(again.state, 'running');
  });

  it('a lock that another program holds on the store keeps nothing alive', {
    skip: aboutSqlite,
  }, async () => {
    const root = mkdtempSync(join(tmpdir(), 'skerry-ends-'));
    mkdirSync(join(root, 'data'));
    // A server shares the database with programs that have it open when it starts.
    const other = new DatabaseSync(join(root, 'data/skerry.db'));
    other.exec('PRAGMA journal_mode = WAL; SELECT count(*) FROM sqlite_schema');
    await using domain = await Domain.over(root);
    const sandbox = await domain.running();
    domain.store.database.exec('PRAGMA busy_timeout = 1');
    other.exec('BEGIN IMMEDIATE');
    try {
      await sandbox.terminate();
      assert.deepEqual(await domain.engine.traces(), []);
    } finally {
      other.exec('ROLLBACK');
      other.close();
    }
    await caughtUp(domain);
    assert.equal(domain.storedState(sandbox), 'ended');
  });
});

describe('with an agent that says nothing', () => {
  it('a sandbox ends when it is terminated, at its timeout and at its idle timeout, and so do those who wait for its agent', async () => {
    await using domain = await Domain.open();
    const silence = (sandbox: Sandbox) => domain.instance(sandbox).process.silence();
    const terminated = await domain.running();
    const process = await exec(terminated, ['cat']);
    await silence(terminated);
    const timed = await domain.running({ timeoutMs: 1000 });
    await silence(timed);
    const idle = await domain.running({ idleTimeoutMs: 1000 });
    await silence(idle);
    const unread = process.writeStdin(0, Buffer.alloc(1 << 20), deadline());
    const unanswered = [assert.rejects(unread), assert.rejects(exec(terminated, ['true']))];
    assert.deepEqual(await timed.wait(60_000, deadline()), { kind: 'timeout' });
    assert.deepEqual(await idle.wait(60_000, deadline()), { kind: 'idle-timeout' });
    await terminated.terminate();
    await Promise.all(unanswered);
    assert.deepEqual(await process.wait(deadline()), { kind: 'signal', signal: 9, timedOut: false });
    await eventually(() => domain.manager.size === 0);
    assert.deepEqual(await domain.engine.traces(), []);
  });
});

describe('with an engine that fails to destroy', () => {
  for (const times of [1, 10]) {
    it(`${times} times: the sandbox has ended, and in the end nothing is left`, async () => {
      await using domain = await Domain.open();
      const sandbox = await domain.running({ name: 'worker' });
      const instance = domain.instanceId(sandbox);
      const left = domain.engine.faults.failTimes('destroy', times);
      await sandbox.terminate();
      assert.deepEqual([sandbox.state, sandbox.result], ['ended', { kind: 'terminated' }]);
      await domain.create({ name: 'worker' });
      await eventually(() => left() === 0 && !domain.engine.instances.has(instance));
      assert.ok(!(await domain.engine.traces()).some((line) => line.includes(instance)));
    });
  }

  it('what could not be destroyed before the server went is gone after the next start', async () => {
    await using domain = await Domain.open();
    const sandbox = await domain.running();
    domain.engine.faults.failTimes('destroy', Number.POSITIVE_INFINITY);
    await sandbox.terminate();
    assert.notDeepEqual(await domain.engine.traces(), []);
    await using next = await domain.restart();
    assert.deepEqual(await next.engine.traces(), []);
    assert.equal(next.manager.get(sandbox.id).state, 'ended');
  });
});
