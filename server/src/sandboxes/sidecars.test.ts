/** Sidecars: further containers of a sandbox, over the fake engine. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Sandbox } from './sandboxes.ts';
import type { SidecarSpec } from './spec.ts';
import { Domain, deadline, eventually, exec, output, text } from './testing/domain.ts';

const sidecarSpec = (domain: Domain, name: string, more: Partial<SidecarSpec> = {}): SidecarSpec => {
  const { imageId, args, secretSources, workdir, resources, pty, volumes } = domain.spec();
  return { name, imageId, args, secretSources, workdir, resources, pty, volumes, ...more };
};
const start = (domain: Domain, sandbox: Sandbox, name: string, more?: Partial<SidecarSpec>, key?: string) =>
  domain.manager.sidecars.create(sandbox, sidecarSpec(domain, name, more), key, deadline());

describe('a sidecar', () => {
  it('is a container of its own that is found through its sandbox only', async () => {
    await using domain = await Domain.open();
    const { sidecars } = domain.manager;
    const sandbox = await domain.running();
    const sidecar = await start(domain, sandbox, 'db');
    assert.equal(domain.instance(sidecar).joins, domain.instanceId(sandbox));
    await output(sandbox, ['touch', '/tmp/of-the-sandbox']);
    assert.equal(
      await output(sidecar, ['sh', '-c', 'test -e /tmp/of-the-sandbox || echo own files']),
      'own files\n',
    );
    assert.equal(sidecars.find(sandbox, 'db', false)?.taskId, sidecar.taskId);
    assert.equal(sidecars.get(sandbox, sidecar.taskId).taskId, sidecar.taskId);
    assert.throws(() => domain.manager.getByTask(sidecar.taskId), { code: 'not-found' });
    assert.deepEqual(
      domain.manager.list({ limit: 10 }).map(({ id }) => id),
      [sandbox.id],
    );
    const process = await exec(sidecar, ['true']);
    assert.equal(sidecars.process(sandbox, process.id), process);
    const other = await domain.running();
    assert.throws(() => sidecars.get(other, sidecar.taskId), { code: 'not-found' });
  });

  it('a name is held until its end, and a request key is one sidecar', async () => {
    await using domain = await Domain.open();
    const { sidecars } = domain.manager;
    const sandbox = await domain.running();
    const first = await start(domain, sandbox, 'db', {}, 'key');
    assert.equal((await start(domain, sandbox, 'db', {}, 'key')).taskId, first.taskId);
    await assert.rejects(start(domain, sandbox, 'db'), { code: 'already-exists' });
    await first.terminate();
    assert.equal(sidecars.find(sandbox, 'db', false), undefined);
    assert.equal(sidecars.find(sandbox, 'db', true)?.taskId, first.taskId);
    const second = await start(domain, sandbox, 'db');
    assert.deepEqual(
      sidecars.list(sandbox, true).map(({ taskId }) => taskId),
      [second.taskId, first.taskId],
    );
    assert.deepEqual(
      sidecars.list(sandbox, false).map(({ taskId }) => taskId),
      [second.taskId],
    );
  });

  it('ends alone, with its program, or before its sandbox; nothing is left', async () => {
    await using domain = await Domain.open();
    const sandbox = await domain.running();
    const short = await start(domain, sandbox, 'short', { args: ['sh', '-c', 'echo done; exit 3'] });
    assert.deepEqual(await short.wait(60_000, deadline()), { kind: 'exited', exitCode: 3 });
    const [one, two] = [await start(domain, sandbox, 'one'), await start(domain, sandbox, 'two')];
    await one.terminate();
    assert.equal(await output(two, ['echo', 'there']), 'there\n');
    assert.equal(sandbox.state, 'running');
    const held = domain.engine.faults.hold('destroy');
    const ending = sandbox.terminate();
    await held.reached;
    assert.ok(domain.engine.instances.has(domain.instanceId(sandbox)), 'the sandbox went before its sidecar');
    held.release();
    await ending;
    assert.deepEqual(two.result, { kind: 'terminated' });
    assert.equal(domain.manager.size, 0);
    assert.deepEqual(await domain.engine.traces(), []);
    await assert.rejects(start(domain, sandbox, 'late'), { code: 'sandbox-ended' });
  });

  it('goes down with a sandbox that crashes, and says why it could not start', async () => {
    await using domain = await Domain.open();
    const sandbox = await domain.running();
    await assert.rejects(start(domain, sandbox, 'bad', { args: ['no-such-program'] }), { code: 'conflict' });
    const sidecar = await start(domain, sandbox, 'good');
    await domain.instance(sandbox).crash();
    assert.ok(await sidecar.wait(60_000, deadline()));
    assert.equal((await sandbox.wait(60_000, deadline()))?.kind, 'crashed');
    await eventually(() => domain.manager.size === 0);
    assert.deepEqual(await domain.engine.traces(), []);
  });

  it('its activity keeps its sandbox from being idle', async () => {
    await using domain = await Domain.open();
    const sandbox = await domain.running({ idleTimeoutMs: 300 });
    const release = sandbox.hold(); // the sidecar's start may take longer than that
    const sidecar = await start(domain, sandbox, 'busy');
    const process = await exec(sidecar, ['sleep', '0.5']);
    release();
    await process.wait(deadline());
    assert.equal(sandbox.state, 'running');
    assert.deepEqual(await sandbox.wait(60_000, deadline()), { kind: 'idle-timeout' });
  });

  it('goes on after a restart of the server, with its output', async () => {
    await using domain = await Domain.open();
    const sandbox = await domain.running();
    const sidecar = await start(domain, sandbox, 'db', { args: ['sh', '-c', 'echo up; exec sleep 1000'] });
    const process = await exec(sidecar, ['cat']);
    await process.writeStdin(0, Buffer.from('before '), deadline());
    await using next = await domain.restart();
    const again = next.manager.get(sandbox.id);
    const sidecarAgain = next.manager.sidecars.get(again, sidecar.taskId);
    const processAgain = sidecarAgain.process(process.id);
    await processAgain.writeStdin(7, Buffer.from('after'), deadline());
    await processAgain.closeStdin(deadline());
    assert.equal(await text(processAgain.stdout), 'before after');
    await again.terminate();
    assert.deepEqual(sidecarAgain.result, { kind: 'terminated' });
    assert.deepEqual(await next.engine.traces(), []);
  });

  it('a failed end of a sidecar does not keep its sandbox alive', async () => {
    await using domain = await Domain.open();
    const sandbox = await domain.running();
    const sidecar = await start(domain, sandbox, 'stubborn');
    let failures = 0;
    const instance = domain.instanceId(sidecar);
    domain.engine.faults.at('destroy', (id) => {
      if (id === instance && failures++ < 3) throw new Error('busy');
    });
    await sandbox.terminate();
    assert.deepEqual([sandbox.result, sidecar.result], [{ kind: 'terminated' }, { kind: 'terminated' }]);
    await eventually(async () => (await domain.engine.traces()).length === 0);
  });
});
