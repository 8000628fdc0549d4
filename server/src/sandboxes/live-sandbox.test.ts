/** The edges of a sandbox's life, over the fake engine. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { newProcessId } from '../ids.ts';
import { Domain, deadline, eventually, exec, execSpec, output, text } from './testing/domain.ts';

describe('a sandbox', () => {
  it('runs its entrypoint with the image environment and ends as it does', async () => {
    await using domain = await Domain.open();
    const sandbox = await domain.create({
      args: ['sh', '-c', 'echo $FROM_IMAGE $MODAL_SANDBOX_ID; echo oops >&2; exit 7'],
    });
    assert.deepEqual(await sandbox.wait(60_000, deadline()), { kind: 'exited', exitCode: 7 });
    assert.equal(await text(sandbox.stdout), `yes ${sandbox.id}\n`);
    assert.equal(await text(sandbox.stderr), 'oops\n');
    await eventually(() => sandbox.state === 'ended');
    assert.equal(domain.storedState(sandbox), 'ended');
    assert.deepEqual(await domain.engine.traces(), []);
    assert.ok(sandbox.startedAtMs && sandbox.endedAtMs && sandbox.endedAtMs >= sandbox.startedAtMs);
  });

  it('is terminated once, whoever asks how often, and forgets nothing it said', async () => {
    await using domain = await Domain.open();
    const sandbox = await domain.running({ args: ['sh', '-c', 'echo hello; exec sleep 1000'] });
    for await (const _ of sandbox.stdout.read(0, deadline())) break;
    await Promise.all([sandbox.terminate(), sandbox.terminate()]);
    await sandbox.terminate();
    assert.equal(sandbox.state, 'ended');
    assert.deepEqual(sandbox.result, { kind: 'terminated' });
    assert.equal(await text(sandbox.stdout), 'hello\n');
    assert.deepEqual(await domain.manager.get(sandbox.id).wait(0, deadline()), { kind: 'terminated' });
    assert.deepEqual(await domain.engine.traces(), []);
    await assert.rejects(exec(sandbox, ['true']), { code: 'sandbox-ended' });
    await assert.rejects(sandbox.snapshotFilesystem({}, deadline()), { code: 'sandbox-ended' });
    assert.throws(() => sandbox.setName('late'), { code: 'conflict' });
  });

  it('ends at its timeout and at its idle timeout, which activity puts off', async () => {
    await using domain = await Domain.open();
    const timed = await domain.running({ timeoutMs: 50 });
    assert.deepEqual(await timed.wait(60_000, deadline()), { kind: 'timeout' });
    const idle = await domain.running({ idleTimeoutMs: 200 });
    const release = idle.hold();
    const running = await exec(idle, ['sleep', '0.3']);
    await running.wait(deadline());
    assert.equal(idle.state, 'running');
    release();
    assert.deepEqual(await idle.wait(60_000, deadline()), { kind: 'idle-timeout' });
    assert.match(
      idle
        .events()
        .map(({ text }) => text)
        .join(),
      /idle/i,
    );
  });

  it('has the snapshot of its end taken before it has ended, whatever ends it, when it was to have one', async () => {
    await using domain = await Domain.open();
    for (const end of ['terminate', 'by itself']) {
      const args = end === 'terminate' ? [] : ['sh', '-c', 'echo left > left'];
      const sandbox = await domain.create({ exitSnapshot: true, args });
      if (end === 'terminate') {
        await exec(sandbox, ['true']);
        assert.equal(sandbox.exitSnapshot, undefined);
        await sandbox.terminate();
      }
      await eventually(() => sandbox.state === 'ended');
      assert.equal(sandbox.exitSnapshot?.kind, 'image');
      assert.deepEqual(domain.manager.get(sandbox.id).exitSnapshot, sandbox.exitSnapshot);
    }
    const without = await domain.running();
    await without.terminate();
    assert.equal(without.exitSnapshot, undefined);
    assert.deepEqual(await domain.engine.traces(), []);
  });

  it('tells a crash from an end by memory', async () => {
    await using domain = await Domain.open();
    const [crashed, starved] = [await domain.running(), await domain.running()];
    const process = await exec(crashed, ['sleep', '1000']);
    await domain.instance(crashed).crash();
    await domain.instance(starved).runOutOfMemory();
    assert.equal((await crashed.wait(60_000, deadline()))?.kind, 'crashed');
    assert.deepEqual(await starved.wait(60_000, deadline()), { kind: 'out-of-memory' });
    assert.deepEqual(await process.wait(deadline()), { kind: 'signal', signal: 9, timedOut: false });
    await eventually(() => crashed.state === 'ended' && starved.state === 'ended');
    assert.deepEqual(await domain.engine.traces(), []);
  });

  it('does not take a kill by hand for one by the kernel, though one of its programs ran out of memory before', async () => {
    await using domain = await Domain.open();
    const args = ['sh', '-c', 'read x; kill -9 $$'];
    const running = () => domain.running({ args });
    const [survivor, crashed, victim] = [await running(), await running(), await running()];
    for (const sandbox of [survivor, crashed]) {
      const eater = await exec(sandbox, ['sleep', '1000']);
      domain.instance(sandbox).countOomKill();
      await eater.kill(9, 'process');
      await eater.wait(deadline());
    }
    await domain.instance(crashed).crash();
    assert.equal((await crashed.wait(60_000, deadline()))?.kind, 'crashed');
    domain.instance(victim).countOomKill();
    for (const sandbox of [survivor, victim]) await sandbox.entrypoint?.closeStdin(deadline());
    assert.deepEqual(await survivor.wait(60_000, deadline()), { kind: 'exited', exitCode: 137 });
    assert.deepEqual(await victim.wait(60_000, deadline()), { kind: 'out-of-memory' });
  });

  it('forgets processes that are over, and still knows what each of them was', async () => {
    await using domain = await Domain.open();
    const sandbox = await domain.running();
    const first = await exec(sandbox, ['sh', '-c', 'echo first; exit 3']);
    assert.equal(await text(first.stdout), 'first\n');
    for (let count = 0; count < 40; count++) await output(sandbox, ['true']);
    const again = sandbox.process(first.id);
    assert.notEqual(again, first, 'it was forgotten');
    assert.deepEqual(again.exit, { kind: 'code', code: 3, timedOut: false });
    assert.equal(await text(again.stdout), 'first\n');
    assert.equal(await exec(sandbox, ['false'], {}, first.id), again, 'its id is its own for ever');
    assert.equal(sandbox.processes().length, 41);
    await using next = await domain.restart();
    assert.equal(await text(next.manager.get(sandbox.id).process(first.id).stdout), 'first\n');
  });

  it('keeps no connection of a process that is over, however short it was', async () => {
    await using domain = await Domain.open();
    const sandbox = await domain.running();
    const before = domain.instance(sandbox).openConnections;
    const short = Array.from({ length: 40 }, async () => (await exec(sandbox, ['true'])).wait(deadline()));
    await Promise.all(short);
    await eventually(() => domain.instance(sandbox).openConnections <= before);
  });

  it('says why it could not start: no such program, no such directory, an engine that fails', async () => {
    await using domain = await Domain.open();
    const noProgram = await domain.create({ args: ['no-such-program'] });
    await assert.rejects(noProgram.waitUntilRunning(deadline()), /no-such-program/);
    await eventually(() => noProgram.state === 'ended');
    domain.engine.faults.failTimes('prepare', 1, new Error('no room on the machine'));
    const noInstance = await domain.create();
    const result = await noInstance.wait(60_000, deadline());
    assert.equal(result?.kind, 'start-failed');
    const lateFailure = domain.engine.faults.failTimes('bound', 1);
    const late = await domain.create();
    assert.equal((await late.wait(60_000, deadline()))?.kind, 'start-failed');
    assert.equal(lateFailure(), 0);
    await eventually(() => domain.manager.size === 0);
    assert.deepEqual(await domain.engine.traces(), []);
  });

  it('its row names what it runs in before that is its own, and no longer than it is there', async () => {
    await using domain = await Domain.open();
    const held = domain.engine.faults.hold('bind');
    const sandbox = await domain.create();
    await held.reached;
    const instance = domain.instanceId(sandbox);
    assert.deepEqual([...domain.engine.making], [instance]);
    held.release();
    await sandbox.waitUntilRunning(deadline());
    assert.equal(domain.instanceId(sandbox), instance);
    assert.notEqual(instance, sandbox.taskId);
    await sandbox.terminate();
    assert.equal(domain.store.sandboxes.get(sandbox.id)?.instance, undefined);
  });

  for (const point of ['prepare', 'bind', 'bound'] as const) {
    it(`terminated while it starts (${point}), it ends at once and never runs`, async () => {
      await using domain = await Domain.open();
      const held = domain.engine.faults.hold(point);
      const sandbox = await domain.create();
      const waiting = exec(sandbox, ['true']);
      waiting.catch(() => {});
      await held.reached;
      assert.equal(sandbox.state, 'starting');
      await sandbox.terminate();
      held.release();
      assert.deepEqual([sandbox.state, sandbox.result], ['ended', { kind: 'terminated' }]);
      await assert.rejects(waiting, { code: 'sandbox-ended' });
      assert.deepEqual(await domain.engine.traces(), []);
    });
  }

  it('runs a program once per id, whoever asks at the same time, also for its failure', async () => {
    await using domain = await Domain.open();
    const sandbox = await domain.running();
    const id = newProcessId();
    const argv = ['sh', '-c', 'echo run >> /tmp/runs; cat /tmp/runs'];
    const [one, two] = await Promise.all([exec(sandbox, argv, {}, id), exec(sandbox, argv, {}, id)]);
    assert.equal(one, two);
    assert.equal(await exec(sandbox, argv, {}, id), one);
    assert.equal(await text(one.stdout), 'run\n');
    assert.deepEqual(
      sandbox.processes().map((process) => process.id),
      [id],
    );
    const failing = newProcessId();
    await assert.rejects(exec(sandbox, ['no-such-program'], {}, failing), { code: 'program-not-found' });
    const retried = await exec(sandbox, ['true'], {}, failing);
    assert.deepEqual(await retried.wait(deadline()), { kind: 'code', code: 0, timedOut: false });
  });

  it('kills an exec at its timeout and lets a caller who leaves find it again', async () => {
    await using domain = await Domain.open();
    const sandbox = await domain.running();
    const timed = await exec(sandbox, ['sleep', '1000'], { timeoutMs: 50 });
    assert.deepEqual(await timed.wait(deadline()), { kind: 'signal', signal: 9, timedOut: true });
    const held = domain.engine.faults.hold('dial');
    const leaver = new AbortController();
    const id = newProcessId();
    // The agent's spare connection may be at hand: then the exec is there already.
    const left = sandbox.exec(id, execSpec(['echo', 'once']), leaver.signal).catch(() => {});
    leaver.abort(new Error('left'));
    await left;
    held.release();
    assert.equal(await text((await exec(sandbox, ['echo', 'once'], {}, id)).stdout), 'once\n');
  });

  it('is ready when its probe succeeds, and never when it ends first', async () => {
    await using domain = await Domain.open();
    const readinessProbe = {
      check: { kind: 'exec', argv: ['test', '-e', '/tmp/ready'] },
      intervalMs: 5,
    } as const;
    const sandbox = await domain.running({ readinessProbe });
    await assert.rejects(sandbox.waitUntilReady(20, deadline()), { code: 'deadline-exceeded' });
    await output(sandbox, ['touch', '/tmp/ready']);
    assert.equal(await sandbox.waitUntilReady(60_000, deadline()), sandbox.readyAtMs);
    const never = await domain.running({ readinessProbe });
    const waiting = never.waitUntilReady(60_000, deadline());
    waiting.catch(() => {});
    await never.terminate();
    await assert.rejects(waiting, { code: 'conflict' });
  });

  it('gives its files to a snapshot that another starts from', async () => {
    await using domain = await Domain.open();
    const sandbox = await domain.running();
    await output(sandbox, ['sh', '-c', 'echo kept > /kept; rm /data/doomed.txt']);
    const image = await sandbox.snapshotFilesystem({}, deadline());
    const other = await domain.running({ imageId: image.id });
    assert.equal(
      await output(other, ['sh', '-c', 'cat /kept; test -e /data/doomed.txt || echo gone']),
      'kept\ngone\n',
    );
    domain.engine.faults.failTimes('commit', 1);
    await assert.rejects(sandbox.snapshotFilesystem({}, deadline()));
    assert.equal(await output(sandbox, ['echo', 'fine']), 'fine\n');
  });

  it('changes its network policy while it runs', async () => {
    await using domain = await Domain.open();
    const sandbox = await domain.create();
    await sandbox.setNetworkPolicy({ kind: 'blocked' });
    assert.deepEqual(domain.instance(sandbox).networkPolicy, { kind: 'blocked' });
    await assert.rejects(sandbox.setSecretHeaders([]), { code: 'conflict' });
    await sandbox.terminate();
    await assert.rejects(sandbox.setNetworkPolicy({ kind: 'open' }), { code: 'sandbox-ended' });
  });

  it('changes its secret headers and its network policy without each other, and keeps no value in clear', async () => {
    await using domain = await Domain.open();
    const rule = (value: string) => ({ domain: 'a.test', headers: { 'x-key': value } });
    const sandbox = await domain.create({ secretHeaders: [rule('first-value')] });
    assert.equal(await output(sandbox, ['sh', '-c', 'echo $SSL_CERT_FILE']), '/headers.pem\n');
    assert.doesNotMatch(JSON.stringify(sandbox.spec), /first-value/);
    const policy = () => domain.instance(sandbox).networkPolicy;
    const first = policy().headers;
    const named = { kind: 'allowlist', cidrs: [], domains: ['a.test'] } as const;
    await sandbox.setNetworkPolicy(named);
    assert.deepEqual(policy(), { ...named, headers: first });
    await sandbox.setSecretHeaders([rule('second-value')]);
    const { headers: second = '', ...rest } = policy();
    assert.deepEqual(rest, named);
    assert.notEqual(second, first);
    await sandbox.setNetworkPolicy({ kind: 'open' });
    assert.deepEqual(policy(), { kind: 'open', headers: second });
    const ranges = { kind: 'allowlist', cidrs: ['192.0.2.0/24'] } as const;
    await sandbox.setNetworkPolicy(ranges);
    assert.deepEqual(policy(), { ...ranges, headers: second });
    await assert.rejects(sandbox.setSecretHeaders([{ domain: 'no domain', headers: { x: 'y' } }]), {
      code: 'invalid-argument',
    });
    assert.deepEqual(policy(), { ...ranges, headers: second });
    await sandbox.terminate();
    await assert.rejects(sandbox.setSecretHeaders([]), { code: 'sandbox-ended' });
  });

  it('stays without an entrypoint until it is ended', async () => {
    await using domain = await Domain.open();
    const sandbox = await domain.running({ noEntrypoint: true });
    assert.equal(sandbox.entrypoint, undefined);
    assert.equal(await output(sandbox, ['echo', 'there']), 'there\n');
    await sandbox.terminate();
    assert.equal(await text(sandbox.stdout), '');
  });
});
