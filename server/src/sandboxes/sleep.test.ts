/** Sandboxes that are suspended when they are idle, and wake when somebody needs them. The engine is the fake one: its programs begin anew when they wake. */
import assert from 'node:assert/strict';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { SkerryError } from '../errors/skerry-error.ts';
import type { Sandbox } from './sandboxes.ts';
import {
  Domain,
  type DomainOptions,
  deadline,
  eventually,
  exec,
  output,
  TEST_ENVIRONMENT,
} from './testing/domain.ts';

const opened = (options: DomainOptions = {}) => Domain.open({ checkpoints: true, ...options });
/** Idle at once. */
const sleeper = { idleTimeoutMs: 20, idleAction: 'suspend' } as const;

const asleep = (domain: Domain, sandbox: Pick<Sandbox, 'id' | 'state'>) =>
  eventually(() => sandbox.state === 'suspended' && domain.engine.instances.size === 0);
const checkpoints = (domain: Domain) => readdir(join(domain.dataDir, 'memory-snapshots'));

describe('a sandbox that is suspended when it is idle', () => {
  it('is on the disk alone, wakes for an exec with its files, and is suspended again', async () => {
    await using domain = await opened();
    const sandbox = await domain.running({ ...sleeper, name: 'worker', tags: { a: 'b' } });
    await output(sandbox, ['sh', '-c', 'echo one > /kept']);
    await asleep(domain, sandbox);
    assert.deepEqual(await domain.engine.traces(), [], 'nothing of it runs');
    assert.equal(domain.storedState(sandbox), 'suspended');
    assert.equal((await checkpoints(domain)).length, 1);
    assert.deepEqual([sandbox.name, sandbox.tags, sandbox.result], ['worker', { a: 'b' }, undefined]);
    assert.equal(await sandbox.wait(0, deadline()), undefined, 'to callers it runs');
    assert.deepEqual(domain.manager.list({ limit: 10 }), [sandbox]);
    assert.equal(sandbox.state, 'suspended', 'none of that wakes it');

    assert.equal(await output(sandbox, ['sh', '-c', 'cat /kept; echo two >> /kept']), 'one\n');
    await eventually(async () => (await checkpoints(domain)).length === 0);
    await asleep(domain, sandbox);
    assert.equal(await output(sandbox, ['cat', '/kept']), 'one\ntwo\n');
    assert.equal(sandbox.entrypoint?.exit, undefined);
    await sandbox.terminate();
    assert.deepEqual(sandbox.result, { kind: 'terminated' });
  });

  it('runs on while a program runs that exec began', async () => {
    await using domain = await opened();
    const sandbox = await domain.running(sleeper);
    const process = await exec(sandbox, ['sh', '-c', 'read line; echo $line']);
    await assert.rejects(sandbox.suspend(deadline()), { code: 'conflict', message: /exec began/ });
    assert.equal(sandbox.state, 'running');
    await process.writeStdin(0, Buffer.from('over\n'), deadline());
    await process.wait(deadline());
    await asleep(domain, sandbox);
  });

  it('wakes for input of its own program', async () => {
    await using domain = await opened();
    const sandbox = await domain.running({
      ...sleeper,
      args: ['sh', '-c', 'read line; echo $line > /said; sleep 1000'],
    });
    await asleep(domain, sandbox);
    await sandbox.entrypoint?.writeStdin(0, Buffer.from('hello\n'), deadline());
    await eventually(async () => (await output(sandbox, ['cat', '/said'])) === 'hello\n');
  });

  it('has the newest version of its volumes when it wakes, and what it wrote is in them while it sleeps', async () => {
    await using domain = await opened();
    const volume = domain.volumes.create(TEST_ENVIRONMENT, 'shared', 2, 'keep');
    const volumes = [{ volumeId: volume.id, target: '/data', readOnly: false, subPath: '' }];
    const sandbox = await domain.running({ ...sleeper, volumes });
    await output(sandbox, ['sh', '-c', 'echo mine > /data/mine']);
    await asleep(domain, sandbox);
    await eventually(() => domain.store.volumeMounts.all().length === 0);
    const other = await domain.running({ volumes });
    assert.equal(await output(other, ['sh', '-c', 'cat /data/mine; echo theirs > /data/theirs']), 'mine\n');
    await other.terminate();
    assert.equal(await output(sandbox, ['cat', '/data/theirs']), 'theirs\n');
  });

  it('keeps its network policy', async () => {
    await using domain = await opened();
    const sandbox = await domain.running(sleeper);
    await sandbox.setNetworkPolicy({ kind: 'blocked' });
    await asleep(domain, sandbox);
    await output(sandbox, ['true']);
    const [instance] = domain.engine.instances.values();
    assert.deepEqual(instance?.networkPolicy, { kind: 'blocked' });
  });

  it('ends at its timeout while it sleeps, and leaves nothing', async () => {
    let nowMs = Date.now();
    await using domain = await opened({ now: () => nowMs });
    const sandbox = await domain.running({ ...sleeper, timeoutMs: 60_000 });
    await asleep(domain, sandbox);
    nowMs += 60_000;
    const next = await domain.restart();
    const found = next.manager.get(sandbox.id);
    assert.deepEqual(await found.wait(10_000, deadline()), { kind: 'timeout' });
    await eventually(() => found.state === 'ended');
    assert.deepEqual(await checkpoints(next), []);
    await next[Symbol.asyncDispose]();
  });

  it('is terminated while it sleeps, and its files go with it', async () => {
    await using domain = await opened();
    const layers = () => readdir(join(domain.dataDir, 'images', 'layers'));
    const before = await layers();
    const sandbox = await domain.running(sleeper);
    await output(sandbox, ['sh', '-c', 'echo one > /kept']);
    await asleep(domain, sandbox);
    assert.notDeepEqual(await layers(), before);
    await sandbox.terminate();
    assert.equal(sandbox.state, 'ended');
    assert.deepEqual(await checkpoints(domain), []);
    await eventually(async () => (await layers()).length === before.length);
  });

  it('has the snapshot of its end also when it ends in its sleep', async () => {
    await using domain = await opened();
    const sandbox = await domain.running({ ...sleeper, exitSnapshot: true });
    await output(sandbox, ['sh', '-c', 'echo one > /kept']);
    await asleep(domain, sandbox);
    await sandbox.terminate();
    await eventually(() => sandbox.state === 'ended');
    const taken = sandbox.exitSnapshot;
    assert.ok(taken?.kind === 'image');
    const next = await domain.running({ imageId: taken.imageId });
    assert.equal(await output(next, ['cat', '/kept']), 'one\n');
  });

  it('sleeps on under the next server, and wakes there with the output it had', async () => {
    const first = await opened();
    const sandbox = await first.running({ ...sleeper, name: 'worker' });
    await output(sandbox, ['sh', '-c', 'echo one > /kept']);
    await asleep(first, sandbox);
    await using next = await first.restart();
    const found = next.manager.get(sandbox.id);
    assert.equal(found.state, 'suspended');
    assert.equal((await checkpoints(next)).length, 1);
    assert.equal(await output(found, ['cat', '/kept']), 'one\n');
    assert.equal(found.entrypoint?.exit, undefined);
    // One that slept is found by a third server as it is.
    await asleep(next, found);
    await output(found, ['true']);
  });

  it('goes on when it cannot be suspended, and is not tried again at once', async () => {
    await using domain = await opened();
    let tries = 0;
    domain.engine.faults.at('checkpoint', () => {
      tries++;
      throw new SkerryError('disk-full', 'There is no room.');
    });
    const sandbox = await domain.running(sleeper);
    await eventually(() => tries === 1 && sandbox.state === 'running');
    await (await exec(sandbox, ['true'])).wait(deadline());
    await assert.rejects(sandbox.suspend(deadline()), { code: 'disk-full' });
    assert.deepEqual(await checkpoints(domain), []);
    domain.engine.faults.clear('checkpoint');
    await sandbox.suspend(deadline());
    assert.equal(sandbox.state, 'suspended');
  });

  it('ends when it cannot be woken, and says why', async () => {
    await using domain = await opened();
    const sandbox = await domain.running(sleeper);
    await asleep(domain, sandbox);
    domain.engine.faults.failTimes('bind', 1, new SkerryError('conflict', 'Another build made it.'));
    await assert.rejects(exec(sandbox, ['true']), {
      code: 'sandbox-ended',
      message: /could not be woken: Another build made it/,
    });
    assert.deepEqual(await domain.engine.traces(), []);
  });

  it('can be ended at any moment of going to sleep and waking', async () => {
    await using domain = await opened();
    for (const point of ['checkpoint', 'bind'] as const) {
      const sandbox = await domain.running(sleeper);
      if (point === 'bind') await asleep(domain, sandbox);
      const held = domain.engine.faults.hold(point);
      if (point === 'bind') exec(sandbox, ['true']).catch(() => {});
      await held.reached;
      const ending = sandbox.terminate();
      held.release();
      await ending;
      assert.deepEqual(sandbox.result, { kind: 'terminated' });
      assert.deepEqual(await domain.engine.traces(), []);
      assert.deepEqual(await checkpoints(domain), []);
    }
  });

  it('keeps its instance until the store knows that it sleeps', async () => {
    let refuse = () => {};
    const faultPoint = (name: string) => {
      if (name === 'sandbox.suspended.before-store') refuse();
    };
    await using domain = await opened({ faultPoint });
    const sandbox = await domain.running(sleeper);
    refuse = () => domain.refuseWrites(true);
    await eventually(() => sandbox.state === 'suspended');
    assert.equal(domain.engine.instances.size, 1);
    assert.equal(domain.storedState(sandbox), 'running');
    refuse = () => {};
    domain.refuseWrites(false);
    await asleep(domain, sandbox);
    assert.equal(await output(sandbox, ['echo', 'here']), 'here\n');
  });

  it('goes on when what is kept of it cannot be written down', async () => {
    await using domain = await opened();
    const sandbox = await domain.running(sleeper);
    await asleep(domain, sandbox);
    const held = domain.engine.faults.hold('checkpoint');
    await output(sandbox, ['true']);
    await held.reached;
    domain.refuseWrites(true);
    held.release();
    await eventually(() => domain.log.some(({ msg }) => msg === 'sandbox.not-suspended'));
    assert.equal(sandbox.state, 'running', 'its image could not be written down');
    domain.refuseWrites(false);
    assert.equal(await output(sandbox, ['echo', 'here']), 'here\n');
  });
});

describe('what cannot be suspended', () => {
  it('is refused where it is asked for, and ends as before where the server would have it', async () => {
    await using domain = await Domain.open({ config: { idleAction: 'suspend' } });
    await assert.rejects(domain.create(sleeper), { code: 'unimplemented', message: /idleAction.*gVisor/ });
    const sandbox = await domain.running({ idleTimeoutMs: 20 });
    assert.deepEqual(await sandbox.wait(10_000, deadline()), { kind: 'idle-timeout' });
  });

  it('is suspended by the setting of the server, and has no sidecars where that was asked for', async () => {
    await using domain = await opened({ config: { idleAction: 'suspend' } });
    const sandbox = await domain.running({ idleTimeoutMs: 20 });
    await asleep(domain, sandbox);
    const endless = await domain.running();
    assert.equal(endless.spec.idleAction, undefined, 'without an idle timeout there is nothing to do');
    const asked = await domain.running({ ...sleeper, idleTimeoutMs: 3_600_000 });
    const sidecar = { ...domain.spec(), name: 'beside' };
    await assert.rejects(domain.manager.sidecars.create(asked, sidecar, undefined, deadline()), {
      code: 'conflict',
    });
  });
});
