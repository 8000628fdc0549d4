/** What becomes of sandboxes whose agent is of another age than the server. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Domain, deadline, eventually, output } from './testing/domain.ts';

const OLD = '{"version":1,"pid":1}';
const NEWER = '{"version":1,"maxVersion":3,"features":["dial","fly"],"pid":1}';
const FUTURE = '{"version":7,"maxVersion":9,"features":["dial"],"pid":1}';
const message =
  "The sandbox's agent speaks versions 7 to 9 of the agent protocol, and this server version 1.";

/** A server that comes back to sandboxes whose agents are like that. */
const restart = async (domain: Domain, greeting: string): Promise<Domain> => {
  const beforeRecovery = (next: Domain) => {
    next.engine.faults.greeting = greeting;
    return { reached: Promise.resolve(), release: () => {} };
  };
  return domain.restart({ beforeRecovery });
};

describe('a sandbox with an agent', () => {
  it('from before versions goes on under a new server, but for what that agent cannot', async () => {
    await using domain = await Domain.open();
    const { id } = await domain.running();
    await using next = await restart(domain, OLD);
    const again = next.manager.get(id);
    await again.waitUntilRunning(deadline());
    assert.equal(await output(again, ['echo', 'fine']), 'fine\n');
    await assert.rejects(again.connect(80, deadline()), { code: 'unimplemented', message: /older version/ });
    assert.equal(again.state, 'running');
  });

  it('of a newer version goes on, in the version of the server', async () => {
    await using domain = await Domain.open();
    const { id } = await domain.running();
    await using next = await restart(domain, NEWER);
    const again = next.manager.get(id);
    await again.waitUntilRunning(deadline());
    assert.equal(await output(again, ['echo', 'fine']), 'fine\n');
    await assert.rejects(again.connect(80, deadline()), { code: 'connection-refused' });
  });

  it('that it cannot be spoken with does not start, and says why', async () => {
    await using domain = await Domain.open();
    domain.engine.faults.greeting = FUTURE;
    const sandbox = await domain.create();
    assert.deepEqual(await sandbox.wait(60_000, deadline()), { kind: 'start-failed', message });
    await eventually(() => sandbox.state === 'ended');
    assert.deepEqual(await domain.engine.traces(), []);
  });

  for (const noEntrypoint of [false, true]) {
    const which = noEntrypoint ? ', though nothing was started in it' : '';
    it(`that it cannot be spoken with ends when a server comes back to it, and says why${which}`, async () => {
      await using domain = await Domain.open();
      const { id } = await domain.running(noEntrypoint ? { noEntrypoint } : {});
      await using next = await restart(domain, FUTURE);
      const again = next.manager.get(id);
      assert.deepEqual(await again.wait(60_000, deadline()), { kind: 'crashed', message });
      await eventually(() => again.state === 'ended');
      assert.deepEqual(await next.engine.traces(), []);
    });
  }

  it('whose word cannot be believed fails the call it was for, and no other', async () => {
    await using domain = await Domain.open();
    const sandbox = await domain.running();
    domain.engine.faults.greeting = '{"version":1}';
    await assert.rejects(sandbox.connect(80, deadline()), {
      code: 'internal',
      message: /HELLO is malformed/,
    });
    domain.engine.faults.greeting = undefined;
    assert.equal(await output(sandbox, ['echo', 'fine']), 'fine\n');
  });
});
