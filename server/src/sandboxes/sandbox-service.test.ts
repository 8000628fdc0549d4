/** Admission, names, keys, look-ups and the sweep, over the fake engine and the real store. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { isDeepStrictEqual } from 'node:util';
import type { AppId, ImageId, SandboxId, SecretId } from '../ids.ts';
import { refuseChanges } from '../store/testing/refuse-changes.ts';
import { Domain, deadline, eventually, exec, output, TEST_APP, text } from './testing/domain.ts';

describe('the sandboxes of a server', () => {
  it('a name belongs to one sandbox of an app from its creation to its end', async () => {
    await using domain = await Domain.open();
    const first = await domain.create({ name: 'worker' });
    await assert.rejects(domain.create({ name: 'worker' }), { code: 'already-exists' });
    const elsewhere = await domain.create({ name: 'worker', appId: 'ap-other' as AppId });
    assert.equal(domain.manager.findByName(TEST_APP, 'worker', false)?.id, first.id);
    const other = await domain.create();
    assert.throws(() => other.setName('worker'), { code: 'already-exists' });
    await first.terminate();
    assert.equal(domain.manager.findByName(TEST_APP, 'worker', false), undefined);
    assert.equal(domain.manager.findByName(TEST_APP, 'worker', true)?.id, first.id);
    other.setName('worker');
    other.setName('worker');
    assert.throws(() => other.setName('else'), { code: 'conflict' });
    assert.equal(domain.manager.findByName(TEST_APP, 'worker', false)?.id, other.id);
    assert.equal(elsewhere.name, 'worker');
  });

  it('a name is held while its sandbox is still being taken away, and free when a start failed', async () => {
    await using domain = await Domain.open();
    const first = await domain.running({ name: 'worker' });
    const held = domain.engine.faults.hold('destroy');
    const ending = first.terminate();
    await held.reached;
    await assert.rejects(domain.create({ name: 'worker' }), { code: 'already-exists' });
    held.release();
    await ending;
    const failing = await domain.create({ name: 'worker', args: ['no-such-program'] });
    await failing.wait(60_000, deadline());
    await eventually(() => failing.state === 'ended');
    const last = await domain.running({ name: 'worker' });
    assert.equal(domain.manager.findByName(TEST_APP, 'worker', false)?.id, last.id);
  });

  it('the same request key is the same sandbox, running, ended, and after a restart', async () => {
    await using domain = await Domain.open();
    const options = { requestKey: 'key-1' };
    const made = await domain.manager.create(domain.spec(), options);
    assert.equal((await domain.manager.create(domain.spec(), options)).id, made.id);
    await using next = await domain.restart();
    assert.equal((await next.manager.create(next.spec(), options)).id, made.id);
    await next.manager.get(made.id).terminate();
    assert.equal((await next.manager.create(next.spec(), options)).id, made.id);
    assert.equal(next.manager.size, 0);
  });

  it('after a reboot, what ran is told as ended by it, its name is free, and the next restart says so no more', async () => {
    await using domain = await Domain.open();
    await domain.manager.recover();
    const sandbox = await domain.running({ name: 'worker' });
    const instance = domain.instance(sandbox);
    await domain.manager.close();
    await instance.crash();
    await using next = await domain.restart({ bootId: 'boot-2' });
    const ended = next.manager.get(sandbox.id);
    assert.deepEqual(ended.result, { kind: 'crashed', message: 'The machine was rebooted while it ran.' });
    const successor = await next.running({ name: 'worker' });
    const its = next.instance(successor);
    await next.manager.close();
    await its.crash();
    await using last = await next.restart();
    assert.deepEqual(last.manager.get(successor.id).result, {
      kind: 'crashed',
      message: 'Its processes were gone when the server came back.',
    });
  });

  it('an external key belongs to one running sandbox', async () => {
    await using domain = await Domain.open();
    const made = await domain.running({ externalKey: 'task-1' });
    await assert.rejects(domain.create({ externalKey: 'task-1' }), { code: 'already-exists' });
    assert.equal(domain.manager.findByExternalKey('task-1')?.id, made.id);
    await made.terminate();
    assert.equal(domain.manager.findByExternalKey('task-1'), undefined);
    await domain.create({ externalKey: 'task-1' });
  });

  it('what is not there is refused before anything is written', async () => {
    await using domain = await Domain.open();
    await assert.rejects(domain.create({ imageId: 'im-none' as ImageId }), { code: 'not-found' });
    const secretSources = [{ kind: 'stored', id: 'st-none' as SecretId }] as const;
    await assert.rejects(domain.create({ secretSources }), { code: 'not-found' });
    assert.throws(() => domain.manager.get('sb-none' as SandboxId), { code: 'not-found' });
    assert.deepEqual(domain.manager.list({ includeEnded: true, limit: 10 }), []);
  });

  it('admits so many and starts so many at once; one that ends makes room', async () => {
    await using domain = await Domain.open({ config: { maxSandboxes: 3, maxStarting: 2 } });
    const held = domain.engine.faults.hold('prepare');
    const [one, two, three] = [await domain.create(), await domain.create(), await domain.create()];
    await held.reached;
    assert.deepEqual([one.state, two.state, three.state], ['starting', 'starting', 'created']);
    await assert.rejects(domain.create(), { code: 'resource-exhausted' });
    await three.terminate();
    assert.deepEqual([three.state, three.result], ['ended', { kind: 'terminated' }]);
    const four = await domain.create();
    held.release();
    await four.waitUntilRunning(deadline());
    assert.equal(three.state, 'ended');
    assert.deepEqual(three.startedAtMs, undefined);
  });

  it('that waits for room which others have keeps nobody else from starting', async () => {
    await using domain = await Domain.open({ config: { maxStarting: 1 } });
    const held = domain.engine.faults.hold('bind');
    domain.engine.faults.isCrowded = true;
    const waiting = await domain.create();
    await held.reached;
    domain.engine.faults.isCrowded = false;
    domain.engine.faults.clear('bind');
    await domain.running();
    assert.equal(waiting.state, 'starting');
    held.release();
    await waiting.waitUntilRunning(deadline());
  });

  it('lists newest first, by app, tags and time, ended ones only when asked for', async () => {
    await using domain = await Domain.open();
    const a = await domain.create({ tags: { kind: 'a', of: 'both' } });
    const b = await domain.create({ tags: { kind: 'b', of: 'both' } });
    await a.terminate();
    const ids = (filter: Partial<Parameters<typeof domain.manager.list>[0]>) =>
      domain.manager.list({ limit: 10, ...filter }).map(({ id }) => id);
    assert.deepEqual(ids({}), [b.id]);
    assert.deepEqual(ids({ includeEnded: true }), [b.id, a.id]);
    assert.deepEqual(ids({ includeEnded: true, tags: { of: 'both', kind: 'a' } }), [a.id]);
    assert.deepEqual(ids({ includeEnded: true, beforeMs: b.createdAtMs }), [a.id]);
    assert.deepEqual(ids({ appId: 'ap-other' as AppId }), []);
    b.setTags({ kind: 'c' });
    assert.deepEqual(ids({ tags: { kind: 'c' } }), [b.id]);
  });

  it('tells the engine whose an instance is, and what that is called now', async () => {
    await using domain = await Domain.open();
    const held = domain.engine.faults.hold('bound');
    const sandbox = await domain.create({ name: 'worker', tags: { run: '1' } });
    const marks = (tags: Readonly<Record<string, string>>) => ({
      ...{ sandbox: sandbox.id, app: TEST_APP, name: 'worker', tags },
    });
    await held.reached;
    sandbox.setTags({ run: '2' }); // the engine was told of the first already
    held.release();
    await sandbox.waitUntilRunning(deadline());
    const instance = domain.instance(sandbox);
    await eventually(() => isDeepStrictEqual(instance.marks, marks({ run: '2' })));
    const left = domain.engine.faults.failTimes('mark', 1);
    sandbox.setTags({ run: '3' });
    await eventually(() => left() === 0);
    assert.equal(sandbox.state, 'running');
    sandbox.setTags({ run: '3' });
    await eventually(() => isDeepStrictEqual(instance.marks, marks({ run: '3' })));
    const other = await domain.running();
    assert.deepEqual(domain.instance(other).marks, { ...marks({}), sandbox: other.id, name: undefined });
    other.setName('other');
    await eventually(() => domain.instance(other).marks?.name === 'other');
  });

  it('secrets reach its programs, and only the ones that were named', async () => {
    await using domain = await Domain.open();
    const { id } = domain.secrets.createEphemeral(domain.spec().environmentId, { STORED: 'one' });
    const secretSources = [
      { kind: 'stored', id },
      { kind: 'inline', env: { INLINE: 'two' } },
    ] as const;
    const sandbox = await domain.running({ secretSources });
    const own = [{ kind: 'inline', env: { OWN: 'three' } }] as const;
    const process = await exec(sandbox, ['sh', '-c', 'echo $STORED $INLINE $OWN'], { secretSources: own });
    assert.equal(await text(process.stdout), 'one two three\n');
    assert.equal(await output(sandbox, ['sh', '-c', 'echo $STORED $OWN']), 'one\n');
  });

  it('forgets an ended one with its output when its time is over, and nothing that lives', async () => {
    let offsetMs = 0;
    await using domain = await Domain.open({ now: () => Date.now() + offsetMs });
    const [ended, living] = [await domain.running(), await domain.running()];
    await output(ended, ['echo', 'hello']);
    await ended.terminate();
    const directory = join(domain.dataDir, 'output', ended.taskId);
    domain.manager.sweep();
    assert.ok(existsSync(directory));
    assert.equal(domain.manager.get(ended.id).state, 'ended');
    offsetMs = 2 * 3_600_000;
    domain.manager.sweep();
    assert.ok(!existsSync(directory));
    assert.throws(() => domain.manager.get(ended.id), { code: 'not-found' });
    assert.equal(domain.manager.get(living.id).id, living.id);
  });

  it('forgets the others where some cannot be forgotten, says so once, and comes back to them', async () => {
    let offsetMs = 0;
    await using domain = await Domain.open({ now: () => Date.now() + offsetMs });
    const [stuck, other] = [await domain.running(), await domain.running()];
    for (const sandbox of [stuck, other]) await sandbox.terminate();
    // Before them in the order of ends, more that are stuck than a sweep looks at.
    const copy = domain.store.database.prepare(`
      INSERT INTO sandboxes (id, task_id, app_id, environment_id, image_id, state, spec, created_at_ms, ended_at_ms)
      SELECT CAST(?1 AS TEXT), CAST(?1 AS TEXT), app_id, environment_id, image_id, state, spec, CAST(?2 AS BIGINT), 1 FROM sandboxes WHERE id = ?3`);
    for (let i = 1; i <= 100; i++) copy.run(`copy-${i}`, i, stuck.id);
    const accept = refuseChanges(domain.store.database, 'DELETE', 'sandboxes', `OLD.id != '${other.id}'`);
    const left = () => domain.store.database.prepare('SELECT count(*) AS n FROM sandboxes').get()?.n;
    offsetMs = 2 * 3_600_000;
    for (let sweeps = 0; sweeps < 6; sweeps++) domain.manager.sweep();
    assert.equal(left(), 101);
    assert.throws(() => domain.manager.get(other.id), { code: 'not-found' });
    const told = domain.log.filter(({ msg }) => msg === 'sandbox.not-forgotten');
    assert.equal(told.length, 101, 'each once');
    accept();
    for (let sweeps = 0; sweeps < 4; sweeps++) domain.manager.sweep();
    assert.equal(left(), 0);
  });

  it('takes no new ones while it shuts down', async () => {
    await using domain = await Domain.open();
    await domain.manager.close();
    await assert.rejects(domain.create(), { code: 'unavailable' });
  });
});
