/** Sandboxes that another of several servers keeps, as the one that leads sees them, and the other way round. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SkerryError } from '../errors/skerry-error.ts';
import { type MemberId, newMemberId, type SandboxId } from '../ids.ts';
import type { Keeper, Keepers } from './keepers.ts';
import type { LifeEntry } from './life-log.ts';
import type { Sandbox } from './sandboxes.ts';
import { Domain, deadline, eventually, output } from './testing/domain.ts';

/** Another server that does what a test says. */
class Others implements Keepers {
  readonly self;
  readonly member = newMemberId();
  readonly asked: string[] = [];
  isThere = true;
  refusal: SkerryError | undefined;

  constructor(self?: MemberId) {
    this.self = self;
  }

  choose = () => (this.isThere ? this.member : undefined);
  lives = (member: MemberId) => this.isThere && member === this.member;
  keeper = (): Keeper => ({
    begin: async (id) => {
      this.asked.push(`begin ${id}`);
      if (this.refusal) throw this.refusal;
    },
    terminate: async (id) => void this.asked.push(`terminate ${id}`),
    wait: async (id) => {
      this.asked.push(`wait ${id}`);
      return { kind: 'terminated' };
    },
    read: async function* () {
      yield Buffer.from('said there');
    },
    usage: () => Promise.reject(new Error('not in this test')),
    connect: () => Promise.reject(new Error('not in this test')),
  });
}

const anywhere = { anywhere: true };

test('what another server keeps begins there, is listed here, and counts here until it has ended', async () => {
  const others = new Others();
  await using domain = await Domain.open({ keepers: others, config: { maxSandboxes: 2 } });
  const { manager, store } = domain;
  const told: string[] = [];
  manager.follow(({ kind, sandboxId }) => told.push(`${kind} ${sandboxId}`));
  const { id, taskId } = await manager.create(domain.spec({ name: 'one' }), anywhere);
  assert.deepEqual(others.asked, [`begin ${id}`]);
  assert.equal(store.sandboxes.get(id)?.memberId, others.member);
  assert.equal(domain.engine.instances.size, 0);
  assert.equal(manager.memberOf(id), others.member);
  assert.equal(manager.memberOf(taskId), others.member);
  assert.equal(manager.keeps(id), false);
  assert.equal(manager.size, 1);
  assert.deepEqual(manager.census(), [], 'each server counts its own');
  assert.equal(manager.takenIn(domain.spec().environmentId).sandboxes, 1);
  const [listed] = manager.list({ limit: 10 });
  assert.ok(listed);
  assert.deepEqual([listed.id, listed.name, listed.state], [id, 'one', 'created']);
  assert.equal(manager.findByName(listed.spec.appId, 'one', false)?.id, id);
  await assert.rejects(manager.create(domain.spec({ name: 'one' }), anywhere), { code: 'already-exists' });

  const here = await domain.running();
  await assert.rejects(manager.create(domain.spec(), anywhere), { code: 'resource-exhausted' });
  assert.equal(store.sandboxes.get(here.id)?.memberId, undefined, 'only who asks for it has one elsewhere');

  // Whoever looks at all of an app does this with each.
  await listed.terminate();
  assert.deepEqual(await listed.wait(1000, deadline()), { kind: 'terminated' });
  const said: Uint8Array[] = [];
  for await (const chunk of listed.stdout.read(0, deadline())) said.push(chunk);
  assert.equal(Buffer.concat(said).toString(), 'said there');
  assert.deepEqual(others.asked.slice(1), [`terminate ${id}`, `wait ${id}`]);
  await assert.rejects(listed.exec('x' as never, {} as never, deadline()), { code: 'unavailable' });

  const entry = (kind: LifeEntry['kind']): LifeEntry => ({
    ...{ kind, sandboxId: id, taskId, instance: undefined, sidecarOf: undefined, timeMs: 1 },
    result: kind === 'ended' ? { kind: 'terminated' } : undefined,
  });
  manager.heard(entry('running'));
  manager.heard(entry('ended'));
  manager.heard(entry('ended')); // of what is known no more
  assert.equal(manager.size, 1);
  assert.deepEqual(
    told.filter((line) => line.endsWith(id)),
    [`running ${id}`, `ended ${id}`],
  );
});

test('what has something that only the server that leads has, stays with it', async () => {
  const others = new Others();
  await using domain = await Domain.open({ keepers: others });
  const kept = await domain.manager.create(domain.spec({ exitSnapshot: true }), anywhere);
  assert.equal(domain.manager.keeps(kept.id), true);
  assert.deepEqual(others.asked, []);
});

test('what the other server refuses was never made', async () => {
  const others = new Others();
  others.refusal = new SkerryError('disk-full', 'There is no room.');
  await using domain = await Domain.open({ keepers: others });
  await assert.rejects(domain.manager.create(domain.spec({ name: 'one' }), anywhere), { code: 'disk-full' });
  assert.equal(domain.manager.size, 0);
  assert.deepEqual(domain.manager.list({ limit: 10, includeEnded: true }), []);
});

test('of a server that is gone the one that leads takes over what it kept, and hears what it missed', async () => {
  const others = new Others();
  await using domain = await Domain.open({ keepers: others });
  const { manager, store } = domain;
  const made: Sandbox[] = [];
  for (const name of ['begins', 'ended']) made.push(await manager.create(domain.spec({ name }), anywhere));
  const [begins, ended] = made as [Sandbox, Sandbox];
  const row = store.sandboxes.get(ended.id);
  assert.ok(row);
  const over = { state: 'ended', result: { kind: 'terminated' }, endedAtMs: 5, timeMs: 5 } as const;
  store.sandboxes.update(row, { ...row, ...over }, []);
  const told: SandboxId[] = [];
  manager.follow(({ kind, sandboxId }) => kind === 'ended' && told.push(sandboxId));
  others.isThere = false;
  const { adopt } = domain.engine;
  domain.engine.adopt = () => Promise.reject(new Error('the engine does not answer'));
  await assert.rejects(manager.takeOver(others.member), /does not answer/);
  domain.engine.adopt = adopt;
  assert.equal(manager.keeps(begins.id), false);
  await manager.takeOver(others.member);
  assert.equal(manager.size, 1);
  assert.deepEqual(told, [ended.id]);
  assert.equal(manager.keeps(begins.id), true);
  assert.equal(store.sandboxes.get(begins.id)?.memberId, undefined);
  assert.equal(await output(manager.get(begins.id), ['echo', 'here']), 'here\n');
});

test('a server that leads from now on leaves alone what others keep, and has what those kept that are gone', async () => {
  const others = new Others();
  await using domain = await Domain.open({ keepers: others });
  const { id } = await domain.manager.create(domain.spec(), anywhere);
  const gone = await domain.manager.create(domain.spec(), anywhere);
  domain.store.database
    .prepare('UPDATE sandboxes SET member_id = ? WHERE id = ?')
    .run(newMemberId(), gone.id);
  await using next = await domain.restart();
  assert.equal(next.manager.keeps(id), false);
  assert.equal(next.manager.memberOf(id), others.member);
  await eventually(() => next.manager.get(gone.id).state === 'running');
  assert.equal(next.store.sandboxes.get(gone.id)?.memberId, undefined);
});

test('of what ended while nobody led whoever leads next tells, once', async () => {
  const others = new Others();
  await using domain = await Domain.open({ keepers: others });
  const { id } = await domain.manager.create(domain.spec(), anywhere);
  const row = domain.store.sandboxes.get(id);
  assert.ok(row);
  const over = { state: 'ended', result: { kind: 'terminated' }, endedAtMs: 5, timeMs: 5 } as const;
  domain.store.sandboxes.update(row, { ...row, ...over }, []);
  const told: string[] = [];
  const beforeRecovery = ({ manager }: Domain) => {
    manager.follow(({ kind, sandboxId, timeMs }) => told.push(`${kind} ${sandboxId} ${timeMs}`));
    return undefined;
  };
  await using next = await domain.restart({ beforeRecovery });
  assert.deepEqual(told, [`ended ${id} 5`]);
  assert.equal(next.manager.size, 0);
  await using last = await next.restart({ beforeRecovery });
  assert.deepEqual(told, [`ended ${id} 5`]);
  assert.equal(last.manager.get(id).state, 'ended');
});

test('what the server that led before was lost with is begun, or was never made', async () => {
  const others = new Others();
  await using domain = await Domain.open({ keepers: others });
  const { id } = await domain.manager.create(domain.spec(), anywhere);
  others.asked.length = 0;
  await using next = await domain.restart();
  await eventually(() => others.asked.length > 0);
  assert.deepEqual(others.asked, [`begin ${id}`]);
  others.refusal = new SkerryError('disk-full', 'There is no room.');
  await using last = await next.restart();
  await eventually(() => last.store.sandboxes.get(id) === undefined);
  assert.equal(last.manager.size, 0);
});

test('one like that waits here: it is given, and nobody else asked', async () => {
  const others = new Others();
  await using domain = await Domain.open({ keepers: others, warmPool: 2 });
  const { imageId, network, runtime } = domain.spec();
  await domain.manager.keepWarm({ imageId, network, runtime }, { count: 1, forMs: 60_000 }, deadline());
  const here = await domain.manager.create(domain.spec(), anywhere);
  assert.equal(domain.manager.keeps(here.id), true);
  assert.deepEqual(others.asked, []);
});

test('a server begins with what the one that leads gives it, once, and with nothing else', async () => {
  const leader = await Domain.open({ keepers: new Others() });
  const made: Sandbox[] = [];
  for (let count = 0; count < 3; count++) made.push(await leader.manager.create(leader.spec(), anywhere));
  const [given, untold, another] = made as [Sandbox, Sandbox, Sandbox];
  const self = newMemberId();
  await using member = await leader.restart({ keepers: new Others(self) });
  const give = member.store.database.prepare('UPDATE sandboxes SET member_id = ? WHERE id = ?');
  for (const { id } of [given, untold]) give.run(self, id);
  member.manager.begin(given.id);
  member.manager.begin(given.id);
  await member.manager.get(given.id).waitUntilRunning(deadline());
  assert.equal(member.engine.instances.size, 1);
  assert.throws(() => member.manager.begin(another.id), { code: 'not-found' });
  assert.equal(member.manager.keeps(another.id), false);
  assert.equal(await output(member.manager.get(given.id), ['echo', 'here']), 'here\n');
  // Whoever asks for one may be sooner than the server that leads.
  assert.equal(await output(member.manager.getByTask(untold.taskId), ['echo', 'asked']), 'asked\n');
});
