/** What a restart of the server makes of sandboxes in each state. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { AgentClient } from '../agent/agent-client.ts';
import { ENTRYPOINT_PROCESS_ID, newProcessId } from '../ids.ts';
import type { Sandbox } from './sandboxes.ts';
import { atLeast, Domain, deadline, eventually, exec, execSpec, text } from './testing/domain.ts';

const asIfKilled = (domain: Domain, state: string, id: string) =>
  domain.store.database.prepare('UPDATE sandboxes SET state = ?, result = NULL WHERE id = ?').run(state, id);

/** As a server leaves it that is killed between the start of the instance and that of the entrypoint. */
async function startedWithoutEntrypoint(domain: Domain): Promise<Sandbox> {
  const sandbox = await domain.running({ noEntrypoint: true });
  await (await exec(sandbox, ['touch', '/tmp/of-the-first-start'])).wait(deadline());
  await domain.manager.close();
  asIfKilled(domain, 'starting', sandbox.id);
  const { database } = domain.store;
  const row = database.prepare('SELECT spec FROM sandboxes WHERE id = ?').get(sandbox.id);
  const { noEntrypoint: _, ...spec } = JSON.parse(String(row?.spec));
  database.prepare('UPDATE sandboxes SET spec = ? WHERE id = ?').run(JSON.stringify(spec), sandbox.id);
  return sandbox;
}

describe('after a restart of the server', () => {
  it('a running sandbox goes on: its processes, output, input, ids and old deadline', async () => {
    let offsetMs = 0;
    const now = () => Date.now() + offsetMs;
    await using domain = await Domain.open({ now });
    const sandbox = await domain.running({ name: 'worker', tags: { a: 'b' } });
    const id = newProcessId();
    const process = await exec(sandbox, ['sh', '-c', 'echo before; read x; echo $x; exit 4'], {}, id);
    await atLeast(process.stdout, 7);
    await using next = await domain.restart({ now });
    const again = next.manager.findByName(sandbox.spec.appId, 'worker', false);
    assert.ok(again);
    assert.equal(again.id, sandbox.id);
    await again.waitUntilRunning(deadline());
    assert.deepEqual([again.deadlineMs, again.tags], [sandbox.deadlineMs, { a: 'b' }]);
    const same = await again.exec(id, execSpec(['echo', 'never run']), deadline());
    assert.deepEqual(await same.stdinStatus(deadline()), { accepted: 0, closed: false });
    await same.writeStdin(0, Buffer.from('after\n'), deadline());
    assert.deepEqual(await same.wait(deadline()), { kind: 'code', code: 4, timedOut: false });
    assert.equal(await text(same.stdout), 'before\nafter\n');
    offsetMs = 2 * 3_600_000;
    await using last = await next.restart({ now });
    const ended = last.manager.get(sandbox.id);
    assert.deepEqual(await ended.wait(60_000, deadline()), { kind: 'timeout' });
    await eventually(() => ended.state === 'ended');
    assert.deepEqual(await last.engine.traces(), []);
  });

  it('an entrypoint that ended meanwhile, with its output, is what the sandbox ended with', async () => {
    await using domain = await Domain.open();
    const sandbox = await domain.running({ args: ['sh', '-c', 'read x; echo last words; exit 9'] });
    const { stdout } = sandbox;
    await using next = await domain.restart();
    const again = next.manager.get(sandbox.id);
    await again.waitUntilRunning(deadline());
    await again.entrypoint?.writeStdin(0, Buffer.from('\n'), deadline());
    assert.deepEqual(await again.wait(60_000, deadline()), { kind: 'exited', exitCode: 9 });
    assert.equal(await text(again.stdout), 'last words\n');
    assert.equal(stdout.length, 0);
  });

  it('a kill by hand is none by the kernel, though one of its programs ran out of memory before', async () => {
    await using domain = await Domain.open();
    const sandbox = await domain.running({ args: ['sh', '-c', 'read x; kill -9 $$'] });
    await using next = await domain.restart({
      beforeRecovery: (server) => server.engine.faults.hold('dial'),
    });
    next.instance(sandbox).countOomKill(); // as the kernel's own count says, which outlives servers
    next.held?.release();
    const again = next.manager.get(sandbox.id);
    await again.waitUntilRunning(deadline());
    await again.entrypoint?.closeStdin(deadline());
    assert.deepEqual(await again.wait(60_000, deadline()), { kind: 'exited', exitCode: 137 });
  });

  it('a probe that the earlier server was waiting for is ended, and the agent forgets it', async () => {
    await using domain = await Domain.open();
    const check = { kind: 'exec', argv: ['sleep', '1000'] } as const;
    const sandbox = await domain.running({ readinessProbe: { check, intervalMs: 1 } });
    const known = async (server: Domain): Promise<string[]> => {
      const agent = new AgentClient((signal) => server.instance(sandbox).dial(signal), server.logger);
      return (await agent.list(deadline())).map(({ id }) => id);
    };
    let former: string | undefined;
    await eventually(async () => {
      former = (await known(domain)).find((id) => id !== ENTRYPOINT_PROCESS_ID);
      return former !== undefined;
    });
    await using next = await domain.restart();
    await next.manager.get(sandbox.id).waitUntilRunning(deadline());
    await eventually(async () => !(await known(next)).includes(former ?? ''));
    assert.ok((await known(next)).includes(ENTRYPOINT_PROCESS_ID));
  });

  it('one that was created starts, one whose instance is gone has crashed', async () => {
    await using domain = await Domain.open();
    const crashed = await domain.running();
    const created = await domain.running();
    const process = await exec(crashed, ['sleep', '1000']);
    const agents = [crashed, created].map((sandbox) => domain.instance(sandbox).process);
    await domain.manager.close();
    await domain.engine.close();
    for (const agent of agents) await agent.kill();
    asIfKilled(domain, 'created', created.id);
    await using next = await domain.restart();
    const gone = next.manager.get(crashed.id);
    assert.equal((await gone.wait(60_000, deadline()))?.kind, 'crashed');
    assert.deepEqual(gone.process(process.id).exit, { kind: 'signal', signal: 9, timedOut: false });
    const started = next.manager.get(created.id);
    await started.waitUntilRunning(deadline());
    assert.equal(await text((await exec(started, ['echo', 'new'])).stdout), 'new\n');
  });

  it('one that was being ended is taken away to the end, with the result it had', async () => {
    await using domain = await Domain.open();
    const sandbox = await domain.running();
    asIfKilled(domain, 'stopping', sandbox.id);
    await using next = await domain.restart();
    const again = next.manager.get(sandbox.id);
    await again.terminate(); // joins, and harms nothing
    assert.deepEqual(again.result, { kind: 'terminated' });
    await eventually(() => next.storedState(sandbox) === 'ended');
    assert.deepEqual(await next.engine.traces(), []);
  });

  it('a start that was interrupted before the entrypoint begins anew', async () => {
    await using domain = await Domain.open();
    const sandbox = await startedWithoutEntrypoint(domain);
    await using next = await domain.restart();
    const again = next.manager.get(sandbox.id);
    await again.waitUntilRunning(deadline());
    assert.ok(again.entrypoint);
    const look = await exec(again, ['test', '-e', '/tmp/of-the-first-start']);
    assert.deepEqual(await look.wait(deadline()), { kind: 'code', code: 1, timedOut: false });
  });

  for (const moment of ['dial', 'destroy'] as const) {
    it(`a sandbox that is terminated while it recovers (${moment}) never rises`, async () => {
      await using domain = await Domain.open();
      const sandbox = await startedWithoutEntrypoint(domain);
      await using next = await domain.restart({
        beforeRecovery: (server) => server.engine.faults.hold(moment),
      });
      const again = next.manager.get(sandbox.id);
      await next.held?.reached;
      const ending = again.terminate();
      next.held?.release();
      await ending;
      assert.deepEqual([again.state, again.result], ['ended', { kind: 'terminated' }]);
      await eventually(() => next.manager.size === 0);
      assert.equal(next.storedState(sandbox), 'ended');
      assert.deepEqual(await next.engine.traces(), []);
      await using last = await next.restart();
      assert.deepEqual(last.manager.get(sandbox.id).result, { kind: 'terminated' });
      assert.equal(last.manager.size, 0);
    });
  }
});
