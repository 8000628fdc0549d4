import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SkerryError } from '../errors/skerry-error.ts';
import { type MemorySnapshotId, newForkId, newSandboxId } from '../ids.ts';
import { noFaultPoint } from '../platform/fault-points.ts';
import { type Copy, Forks } from './forks.ts';
import type { MemorySnapshotRow } from './memory-snapshots.ts';
import type { SandboxSpec } from './spec.ts';
import { Domain, deadline } from './testing/domain.ts';

const from = { id: newForkId(), spec: { tags: { a: 'b' } } } as unknown as MemorySnapshotRow; // nothing else is looked at

/** Copies that start when they are told to, and what became of the checkpoint. */
class Stage {
  readonly letGo: MemorySnapshotId[] = [];
  readonly copies: { spec: SandboxSpec; start: PromiseWithResolvers<void>; state: Copy['state'] }[] = [];
  /** A server that shuts down ends nothing. */
  closing = false;
  refuse: SkerryError | undefined;

  readonly forks = new Forks({
    faultPoint: noFaultPoint,
    snapshots: {
      letGo: ({ id }) => void this.letGo.push(id),
      unfinishedForks: new Set([from.id]),
      forgetFork: (id) => void this.letGo.push(id as MemorySnapshotId), // one of the set above
    },
    admit: (spec) => {
      if (this.refuse && this.copies.length === 2) throw this.refuse;
      const copy = { spec, start: Promise.withResolvers<void>(), state: 'starting' as Copy['state'] };
      copy.start.promise.then(
        () => (copy.state = 'running'),
        () => (copy.state = 'ended'),
      );
      this.copies.push(copy);
      return {
        id: newSandboxId(),
        get state() {
          return copy.state;
        },
        waitUntilRunning: () => copy.start.promise,
        terminate: async () => {
          if (!this.closing) copy.state = 'ended';
        },
      } as unknown as Copy; // no fork looks at the rest
    },
  });

  make(count: number): Promise<readonly unknown[]> {
    const copies = Array.from({ length: count }, (_, index) => ({ name: `n${index}` }));
    return this.forks.make({ snapshotForFork: async () => from }, copies, deadline());
  }
}

test('the checkpoint goes when all run, and not before', async () => {
  const stage = new Stage();
  const made = stage.make(2);
  await new Promise(setImmediate);
  assert.deepEqual(
    stage.copies.map(({ spec }) => [spec.from, spec.name, spec.tags, spec.externalKey]),
    [0, 1].map((index) => [from.id, `n${index}`, { a: 'b' }, undefined]),
  );
  stage.copies[1]?.start.resolve();
  await new Promise(setImmediate);
  assert.deepEqual(stage.letGo, []);
  stage.copies[0]?.start.resolve();
  assert.equal((await made).length, 2);
  assert.deepEqual(stage.letGo, [from.id]);
});

test('when the third cannot start there is none, and the checkpoint is gone', async () => {
  const stage = new Stage();
  const made = stage.make(5);
  await new Promise(setImmediate);
  for (const index of [0, 1]) stage.copies[index]?.start.resolve();
  stage.copies[2]?.start.reject(new SkerryError('sandbox-ended', 'No room for its memory.'));
  await assert.rejects(made, {
    code: 'unavailable',
    message: 'The sandbox was not forked, since copy 3 of 5 did not start. No room for its memory.',
  });
  assert.deepEqual(
    stage.copies.map(({ state }) => state),
    Array(5).fill('ended'),
  );
  assert.deepEqual(stage.letGo, [from.id]);
});

test('likewise when it is not admitted, in the words of that', async () => {
  const stage = new Stage();
  stage.refuse = new SkerryError('already-exists', 'The name is taken.');
  await assert.rejects(stage.make(3), stage.refuse);
  assert.deepEqual([stage.copies.map(({ state }) => state), stage.letGo], [['ended', 'ended'], [from.id]]);
});

test('of a server that shuts down the checkpoint stays, so that the next one ends the copies', async () => {
  const stage = new Stage();
  const made = stage.make(2);
  await new Promise(setImmediate);
  stage.closing = true;
  stage.copies[0]?.start.reject(new SkerryError('unavailable', 'The server is shutting down.'));
  await assert.rejects(made);
  assert.deepEqual(stage.letGo, []);

  const ended: unknown[] = [];
  const sandbox = (id: MemorySnapshotId | undefined) => ({
    spec: { from: id } as SandboxSpec, // all that is looked at
    terminate: async () => void ended.push(id),
  });
  const steps: (() => void)[] = [];
  const live = [sandbox(from.id), sandbox(undefined), sandbox(newForkId()), sandbox(from.id)];
  stage.forks.endUnfinished(live, (step) => steps.push(step));
  assert.deepEqual([ended, stage.letGo], [[from.id, from.id], []]);
  for (const step of steps) step();
  assert.deepEqual(stage.letGo, [from.id]);
});

test('under runc it is refused, saying what it takes; of one that ended likewise', async () => {
  await using domain = await Domain.open();
  const sandbox = await domain.running();
  await assert.rejects(domain.manager.fork(sandbox.id, [{}], deadline()), {
    code: 'unimplemented',
    message: /under gVisor alone, and this one runs under runc/,
  });
  await sandbox.terminate();
  await assert.rejects(domain.manager.fork(sandbox.id, [{}], deadline()), { code: 'sandbox-ended' });
});
