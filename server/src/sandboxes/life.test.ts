/** The edges of a sandbox's life, one by one, and what holds of every life whatever happens in whichever order. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { type InstanceId, newImageId, newInstanceId, newMemorySnapshotId } from '../ids.ts';
import {
  type Effect,
  fromStored,
  holdsName,
  instanceOf,
  type Life,
  type LifeEvent,
  resultOf,
  sleptOf,
  step,
  toStored,
} from './life.ts';
import type { Sleep } from './sleep.ts';
import type { SandboxResult } from './state.ts';

const created: Life = { state: 'created' };
const instance = newInstanceId();
const launching: Life = { state: 'starting', activity: 'launching', instance: undefined };
const placed: LifeEvent = { kind: 'placed', instance };
const up: LifeEvent = { kind: 'up', atMs: 100, timeoutMs: 50 };
const end = (kind: 'terminated' | 'timeout'): LifeEvent => ({ kind: 'end', result: { kind } });
const found = (lives: boolean): LifeEvent => ({
  kind: 'found',
  instance: lives,
  fate: 'It was gone.',
  atMs: 200,
});
const removed: LifeEvent = { kind: 'removed', atMs: 300 };
const failed: LifeEvent = { kind: 'failed', message: 'no room' };
const suspend: LifeEvent = { kind: 'suspend' };
const needed: LifeEvent = { kind: 'needed' };
const left: LifeEvent = { kind: 'left' };
const slept: Sleep = {
  ...{ checkpoint: newMemorySnapshotId(), image: newImageId(), keptBytes: 0 },
  limits: { memoryMiB: 64, milliCpu: 1000, milliCpuRequest: 125, pids: 100 },
  network: { kind: 'open' },
};
const hasSlept: LifeEvent = { kind: 'slept', slept };

/** What comes of these events, one after the other: the states, and all effects. */
function live(life: Life, ...events: LifeEvent[]): { life: Life; effects: Effect[] } {
  const effects: Effect[] = [];
  for (const event of events) {
    const next = step(life, event);
    life = next.life;
    effects.push(...next.effects);
  }
  return { life, effects };
}

/** The same after a restart of the server. */
const reborn = (life: Life): Life => fromStored(toStored(life));

describe('step', () => {
  it('takes a sandbox from its admission to its end', () => {
    const { life, effects } = live(
      created,
      { kind: 'admitted' },
      { kind: 'turn' },
      placed,
      up,
      end('timeout'),
      removed,
    );
    assert.deepEqual(effects, ['queue', 'launch', 'open', 'close', 'remove', 'settle']);
    assert.deepEqual(toStored(life), {
      ...{ state: 'ended', instance: undefined, slept: undefined, result: { kind: 'timeout' } },
      ...{ startedAtMs: 100, deadlineMs: 150, readyAtMs: undefined, endedAtMs: 300 },
    });
  });

  it('names what it runs in from the moment there is one to its end, also to the next server', () => {
    const starting = live(launching, placed).life;
    const running = live(starting, up).life;
    const stopping = live(running, end('timeout')).life;
    for (const life of [starting, running, stopping]) {
      assert.equal(instanceOf(life), instance);
      assert.equal(instanceOf(reborn(life)), instance);
    }
    const again = live(reborn(starting), found(true), { kind: 'incomplete' });
    assert.equal(instanceOf(again.life), instance, 'until it is discarded');
    assert.equal(instanceOf(live(again.life, { kind: 'discarded' }).life), undefined);
    const late = live(launching, end('terminated'), placed).life;
    assert.equal(instanceOf(late), undefined, 'nobody is placed who is being ended');
  });

  it('waits for what is under way before it takes anything away, and the first reason to end is the one', () => {
    const ending = live(launching, end('terminated'), end('timeout'));
    assert.deepEqual(ending.effects, ['close', 'call-off']);
    for (const answer of [up, failed]) {
      const { life, effects } = live(ending.life, answer, removed);
      assert.deepEqual(effects, ['remove', 'settle']);
      assert.deepEqual(resultOf(life), { kind: 'terminated' });
    }
  });

  it('ends what cannot start, saying why', () => {
    const { life, effects } = live(launching, failed, removed);
    assert.deepEqual(effects, ['close', 'remove', 'settle']);
    assert.deepEqual(resultOf(life), { kind: 'start-failed', message: 'no room' });
  });

  it('takes up an interrupted start that lives and is whole, and begins every other one anew', () => {
    const interrupted = reborn(live(launching, placed).life);
    assert.deepEqual(live(interrupted, found(true), up).effects, ['rejoin', 'open']);
    for (const answer of [failed, { kind: 'incomplete' } as const]) {
      const { life, effects } = live(interrupted, found(true), answer, { kind: 'discarded' });
      assert.deepEqual(effects, ['rejoin', 'discard', 'forget', 'queue']);
      assert.deepEqual(life, created);
    }
    assert.deepEqual(live(interrupted, found(false)).effects, ['forget', 'queue']);
    assert.deepEqual(live(interrupted, found(true), failed, failed, removed).effects.slice(1), [
      ...(['discard', 'close', 'remove', 'settle'] as const),
    ]);
  });

  it('goes on with a running one at its old times, or ends it as crashed', () => {
    const running = live(launching, placed, up, { kind: 'ready', atMs: 120 }).life;
    const goesOn = live(reborn(running), found(true), { kind: 'up', atMs: 900, timeoutMs: 50 });
    assert.deepEqual(goesOn.effects, ['rejoin', 'open']);
    assert.deepEqual(goesOn.life, running);
    const gone = live(reborn(running), found(false));
    assert.deepEqual(gone.effects, ['settle']);
    assert.deepEqual(resultOf(gone.life), { kind: 'crashed', message: 'It was gone.' });
    const silent = live(reborn(running), found(true), failed);
    assert.deepEqual(silent.effects, ['rejoin', 'close', 'remove']);
    assert.equal(resultOf(silent.life)?.kind, 'crashed');
  });

  it('suspends what nobody needs, and wakes it for whoever does; its time goes on', () => {
    const running = live(launching, placed, up).life;
    const asleep = live(running, suspend, hasSlept);
    assert.deepEqual(asleep.effects, ['suspend', 'leave']);
    assert.equal(instanceOf(asleep.life), undefined, "its instance is nobody's from then on");
    const gone = live(asleep.life, left);
    assert.deepEqual(gone.effects, []);
    const again = live(gone.life, needed, placed, { ...up, atMs: 120 });
    assert.deepEqual(again.effects, ['wake', 'open']);
    assert.deepEqual(toStored(again.life), { ...toStored(running), slept });
    const late = live(gone.life, end('timeout'), removed);
    assert.deepEqual(late.effects, ['close', 'remove', 'settle']);
    assert.equal(resultOf(late.life)?.kind, 'timeout');
  });

  it('wakes at once who is needed while it is being suspended', () => {
    const running = live(launching, placed, up).life;
    for (const events of [
      [suspend, needed, hasSlept, left],
      [suspend, hasSlept, needed, left],
    ])
      assert.deepEqual(live(running, ...events).effects, ['suspend', 'leave', 'wake']);
  });

  it('runs on when it cannot be suspended, and ends when it cannot be woken', () => {
    const running = live(launching, placed, up).life;
    const stayed = live(running, suspend, needed, failed);
    assert.deepEqual(stayed.effects, ['suspend', 'stay']);
    assert.deepEqual(stayed.life, running);
    const lost = live(running, suspend, hasSlept, left, needed, failed, removed);
    assert.deepEqual(lost.effects, ['suspend', 'leave', 'wake', 'close', 'remove', 'settle']);
    assert.deepEqual(resultOf(lost.life), { kind: 'crashed', message: 'It could not be woken: no room' });
  });

  it('is what it was when a server was killed on the way into sleep or out of it', () => {
    const running = live(launching, placed, up).life;
    const suspending = live(running, suspend).life;
    assert.deepEqual(live(reborn(suspending), found(true), up).life, running, 'it was not asleep yet');
    const leaving = live(suspending, hasSlept).life;
    const doze = live(reborn(leaving), found(false));
    assert.deepEqual(doze.effects, ['doze']);
    const waking = live(doze.life, needed, placed).life;
    const back = live(reborn(waking), found(true), needed, { kind: 'discarded' });
    assert.deepEqual(back.effects, ['doze', 'discard', 'wake']);
    assert.deepEqual(sleptOf(back.life), slept);
  });

  it('takes away to the end what an earlier server had begun to, with the result it had', () => {
    const stopping = reborn(live(launching, up, end('timeout')).life);
    for (const lives of [true, false]) {
      const { life, effects } = live(stopping, found(lives), removed);
      assert.deepEqual(effects, ['remove', 'settle']);
      assert.deepEqual(resultOf(life), { kind: 'timeout' });
    }
  });
});

/** One thing that happens to a world of one sandbox. Choices that make no sense where it stands do nothing. */
type Happening =
  | 'answer'
  | 'fail'
  | 'incomplete'
  | 'terminate'
  | 'deadline'
  | 'ready'
  | 'idle'
  | 'need'
  | 'crash'
  | 'restart'
  | 'power-cut';

const happening = fc.constantFrom<Happening>(
  ...(['answer', 'answer', 'answer', 'fail', 'incomplete'] as const),
  ...(['idle', 'idle', 'need', 'need'] as const),
  ...(['terminate', 'deadline', 'ready', 'crash', 'restart', 'power-cut'] as const),
);

type Pending = 'turn' | 'launch' | 'bind' | 'rejoin' | 'discard' | 'remove' | 'suspend' | 'leave' | 'wake';

/** A machine, a server and its store, with one sandbox: does what the life asks for as the real parts do, and checks it at every step. */
class World {
  life: Life = created;
  /** What the effects have under way, oldest first. */
  #pending: Pending[] = [];
  #calledOff = false;
  /** What is on the machine; a server that comes back goes on with nothing that was not bound. */
  instance: { readonly id: InstanceId; bound: boolean } | undefined;
  /** Whether its deadline counts, and whether it is looked after in an instance. */
  #open = false;
  #watched = false;
  #settled = false;
  #result: SandboxResult | undefined;
  #atMs = 0;
  states: Life['state'][] = ['created'];

  begin(): void {
    this.#tell({ kind: 'admitted' });
  }

  happen(what: Happening): void {
    this.#atMs++;
    if (what === 'answer' || what === 'fail' || what === 'incomplete') this.#answer(what);
    else if (what === 'terminate') this.#tell(end('terminated'));
    else if (what === 'deadline' && this.#open) this.#tell(end('timeout'));
    else if (what === 'idle' && this.#watched) this.#tell({ kind: 'suspend' });
    else if (what === 'need') this.#tell({ kind: 'needed' });
    else if (what === 'ready' && this.#watched) this.#tell({ kind: 'ready', atMs: this.#atMs });
    else if (what === 'crash' && this.instance?.bound) {
      const isItsOwn = instanceOf(this.life) === this.instance.id;
      this.instance = undefined;
      if (isItsOwn) this.#tell({ kind: 'end', result: { kind: 'crashed', message: 'It died.' } });
    } else if (what === 'restart') this.#restart();
    else if (what === 'power-cut') {
      this.instance = undefined;
      this.#restart();
    }
  }

  /** Until nothing is under way. */
  drain(): void {
    for (let rounds = 0; this.#pending.length > 0; rounds++) {
      assert.ok(rounds < 20, 'something is always under way');
      this.#answer('answer');
    }
  }

  #answer(how: 'answer' | 'fail' | 'incomplete'): void {
    const pending = this.#pending.shift();
    if (!pending) return;
    const hasFailed = how === 'fail' || this.#calledOff;
    if ((pending === 'launch' || pending === 'wake') && !hasFailed) {
      this.instance = { id: newInstanceId(), bound: false };
      this.#tell({ kind: 'placed', instance: this.instance.id });
      this.#pending.push('bind');
      return;
    }
    if (pending !== 'turn') this.#calledOff = false;
    this.#tell(this.#outcome(pending, how, hasFailed));
  }

  #outcome(pending: Pending, how: Happening, hasFailed: boolean): LifeEvent {
    if (pending === 'turn') return { kind: 'turn' };
    if (pending === 'bind') {
      // Also when it was called off too late.
      this.instance = this.instance && how === 'answer' ? { ...this.instance, bound: true } : undefined;
    }
    if (pending === 'remove') {
      this.instance = undefined; // or the reaper's from now on
      return { kind: 'removed', atMs: this.#atMs };
    }
    if (pending === 'leave') {
      this.instance = undefined; // likewise
      return { kind: 'left' };
    }
    if (hasFailed) return { kind: 'failed', message: 'It failed.' };
    if (pending === 'suspend')
      return { kind: 'slept', slept: { ...slept, checkpoint: newMemorySnapshotId() } };
    if (pending === 'discard') {
      this.instance = undefined;
      return { kind: 'discarded' };
    }
    if (pending === 'rejoin' && how === 'incomplete' && this.life.state === 'starting') return { kind: how };
    return { kind: 'up', atMs: this.#atMs, timeoutMs: 10 };
  }

  /** The server is killed, and another finds the machine and the store as they are. */
  #restart(): void {
    this.#pending = [];
    this.#calledOff = false;
    this.#open = false;
    this.#watched = false;
    this.#settled = this.life.state === 'ended';
    this.life = reborn(this.life);
    const known = instanceOf(this.life);
    if (!this.instance?.bound || this.instance.id !== known) this.instance = undefined;
    if (this.life.state === 'ended') return; // is not looked for
    this.#tell({
      kind: 'found',
      instance: this.instance !== undefined,
      fate: 'It was gone.',
      atMs: this.#atMs,
    });
  }

  #tell(event: LifeEvent): void {
    const before = this.life;
    const { life, effects } = step(before, event);
    this.life = life;
    if (life.state !== before.state) this.states.push(life.state);
    for (const effect of effects) this.#perform(effect);
    this.#check(before);
  }

  #perform(effect: Effect): void {
    switch (effect) {
      case 'queue':
        this.#pending.push('turn');
        break;
      case 'launch':
      case 'rejoin':
      case 'discard':
      case 'remove':
      case 'suspend':
      case 'leave':
      case 'wake':
        assert.ok(!this.#pending.some((other) => other !== 'turn'), `${effect} beside ${this.#pending}`);
        if (effect === 'launch' || effect === 'wake')
          assert.ok(!this.instance, 'a second instance is started');
        if (effect === 'suspend') this.#watched = false;
        this.#pending.push(effect);
        break;
      case 'call-off':
        assert.ok(
          this.#pending.some((other) => other !== 'turn'),
          'nothing to call off',
        );
        this.#calledOff = true;
        break;
      case 'open':
      case 'stay':
        assert.ok(!this.#watched, 'it is watched twice');
        this.#open = true;
        this.#watched = true;
        break;
      case 'doze':
        assert.ok(!this.#open, 'its deadline is set twice');
        this.#open = true;
        break;
      case 'close':
        this.#open = false;
        this.#watched = false;
        break;
      case 'settle':
        assert.ok(!this.#settled, 'it settles twice');
        this.#settled = true;
        break;
      case 'forget':
        assert.ok(!this.instance, 'what still runs is forgotten');
        break;
      default:
        effect satisfies never;
    }
  }

  #check(before: Life): void {
    const { life } = this;
    if (before.state === 'ended') assert.deepEqual(life, before, 'ended is final');
    assert.equal(life.state === 'ended', this.#settled, 'it has settled when it has ended, and only then');
    assert.equal(holdsName(life), life.state !== 'ended', 'its name is held to its end');
    // Who was told a result is told the same ever after.
    this.#result ??= resultOf(life);
    if (this.#result) {
      assert.ok(life.state === 'stopping' || life.state === 'ended', `it rose again: ${life.state}`);
      assert.deepEqual(resultOf(life), this.#result);
    }
    if (life.state === 'ended') assert.ok(!this.instance, 'it ended and runs');
    if (this.#watched) assert.equal(life.state, 'running', 'it is watched while it runs');
    if (this.#open) assert.ok(life.state === 'running' || life.state === 'suspended', 'its time counts');
    if (life.state === 'suspended' && life.activity === 'none')
      assert.ok(!this.instance, 'it sleeps and runs');
    const isLeft = life.state === 'suspended' && life.activity === 'leaving';
    if (this.instance?.bound && life.state !== 'stopping' && !isLeft) {
      assert.equal(instanceOf(life), this.instance.id, 'the next server finds what it runs in');
    }
    if ('startedAtMs' in before && before.startedAtMs !== undefined && 'startedAtMs' in life) {
      assert.equal(life.startedAtMs, before.startedAtMs);
      assert.equal(life.deadlineMs, before.deadlineMs);
      if (before.readyAtMs !== undefined) assert.equal(life.readyAtMs, before.readyAtMs);
    }
    assert.deepEqual(toStored(reborn(life)), toStored(life), 'the store gives back what it took');
  }
}

const edges: Readonly<Record<Life['state'], readonly Life['state'][]>> = {
  created: ['starting', 'stopping'],
  starting: ['created', 'running', 'stopping'],
  running: ['suspended', 'stopping', 'ended'],
  suspended: ['running', 'stopping'],
  stopping: ['ended'],
  ended: [],
};

describe('every life', () => {
  it('keeps its promises, whatever happens and whenever the server is killed, and comes to its end', () => {
    const seen = new Set<string>();
    fc.assert(
      fc.property(fc.array(happening, { maxLength: 60 }), (happenings) => {
        const world = new World();
        world.begin();
        for (const what of happenings) world.happen(what);
        world.drain();
        assert.ok(['running', 'suspended', 'ended'].includes(world.life.state), 'it comes to rest');
        world.happen('terminate');
        world.drain();
        assert.equal(world.life.state, 'ended');
        assert.ok(!world.instance, 'nothing of it is left');
        for (const [index, state] of world.states.entries()) {
          const next = world.states[index + 1];
          if (next === undefined) continue;
          assert.ok(edges[state].includes(next), `${state} -> ${next}`);
          seen.add(`${state} -> ${next}`);
        }
      }),
      { numRuns: 3000 },
    );
    const all = Object.entries(edges).flatMap(([from, to]) => to.map((state) => `${from} -> ${state}`));
    assert.deepEqual([...seen].sort(), all.sort(), 'the property has been along every edge');
  });

  it('has one end, whatever events come to it in whichever order', () => {
    const atMs = fc.nat();
    const events: fc.Arbitrary<LifeEvent> = fc.oneof(
      fc.constantFrom<LifeEvent>(
        ...(['admitted', 'turn', 'incomplete', 'discarded'] as const).map((kind) => ({ kind })),
        ...(['suspend', 'left', 'needed'] as const).map((kind) => ({ kind })),
        ...[end('terminated'), end('timeout'), failed, placed, { kind: 'slept', slept } as const],
      ),
      fc.record({ kind: fc.constantFrom('ready' as const, 'removed' as const), atMs }),
      fc.record({ kind: fc.constant('up' as const), atMs, timeoutMs: fc.nat() }),
      fc.record({ kind: fc.constant('found' as const), instance: fc.boolean(), fate: fc.string(), atMs }),
    );
    fc.assert(
      fc.property(fc.array(events, { maxLength: 40 }), (list) => {
        let life: Life = created;
        for (const event of list) {
          const { life: next } = step(life, event);
          if (life.state === 'ended') assert.equal(next, life);
          if (resultOf(life)) assert.deepEqual(resultOf(next), resultOf(life));
          life = next;
        }
      }),
    );
  });
});
