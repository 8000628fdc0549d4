/** The pool over the fake engine: instances are real processes, clock and memory are the test's. */
import assert from 'node:assert/strict';
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { agentBinaryPath } from '../agent/agent-binary.ts';
import type { Instance, Tenure } from '../engines/engine.ts';
import { createBusyboxLayer } from '../engines/testing/busybox-layer.ts';
import { FakeEngine } from '../engines/testing/fake-engine.ts';
import { shell } from '../engines/testing/guest.ts';
import { TestContent } from '../engines/testing/test-content.ts';
import { SkerryError } from '../errors/skerry-error.ts';
import { systemClock } from '../platform/clock.ts';
import { delay } from '../platform/wait.ts';
import { createLogger } from '../telemetry/logger.ts';
import { WINDOW_MS } from './demand.ts';
import { InstanceService, type NewShape } from './instance-service.ts';

const limits = { memoryMiB: 64, milliCpu: 1000, milliCpuRequest: 500, pids: 100 };
const expects = { hostname: 'box', limits, network: { kind: 'open' } } as const;
const tenure: Tenure = { ...expects, mounts: [] };
const warmth = { expects, label: 'im-a' };
const shape = { layers: [TestContent.ref('layer')], runtime: 'runc' } as const;
const signal = () => AbortSignal.timeout(60_000);

async function eventually(holds: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = signal();
  while (!(await holds())) await delay(2, deadline);
}

class Machine implements AsyncDisposable {
  readonly #root: string;
  readonly engine: FakeEngine;
  readonly instances: InstanceService;
  readonly points: string[] = [];
  nowMs = 1_000_000;
  availableMiB = 4000;

  static async open(warmPool = 8): Promise<Machine> {
    const root = await mkdtemp(join(tmpdir(), 'skerry-warm-'));
    await createBusyboxLayer(join(root, 'layer'), ['sh', 'echo']);
    await createBusyboxLayer(join(root, 'other'), ['sh', 'echo']);
    const machine = new Machine(root, warmPool);
    await machine.engine.open();
    return machine;
  }

  private constructor(root: string, warmPool: number) {
    this.#root = root;
    this.engine = new FakeEngine(root, agentBinaryPath(), new TestContent(root));
    this.instances = new InstanceService({
      ...{ engine: this.engine, logger: createLogger('silent'), firstPauseMs: 1, warmPool },
      clock: { ...systemClock, now: () => this.nowMs },
      memory: async () => ({ availableMiB: this.availableMiB, totalMiB: 10_000 }),
      faultPoint: (name) => void this.points.push(name),
    });
  }

  get warm() {
    return this.instances.warm;
  }

  /** Of all kinds. */
  get waiting(): number {
    return this.warm.kinds().reduce((sum, { waiting }) => sum + waiting, 0);
  }

  start(more: Partial<Tenure> = {}, of: Partial<NewShape> = {}, by = signal()): Promise<Instance> {
    const given = { ...tenure, ...more };
    const { mounts: _, buckets: __, ...expected } = given;
    return this.instances.start({ ...shape, ...of }, async () => given, by, {
      warmth: { expects: expected, label: 'im-a' },
    });
  }

  /** One was asked for, and the next one waits. */
  async withOneWaiting(): Promise<Instance> {
    const first = await this.start();
    await eventually(() => this.waiting === 1);
    return first;
  }

  get #kind() {
    const [kind] = this.warm.kinds();
    assert.ok(kind);
    return kind;
  }

  get hits(): number {
    return this.#kind.hits;
  }

  get misses(): number {
    return this.#kind.misses;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.instances.close();
    await this.engine.close();
    const last = new FakeEngine(this.#root, '', new TestContent(this.#root));
    await last.adopt(new Set());
    await last.remove();
  }
}

describe('the warm pool', () => {
  it('makes nothing before somebody asks, and gives the second who asks what waits', async () => {
    await using machine = await Machine.open();
    await machine.warm.sweep();
    assert.deepEqual([...machine.engine.making], []);
    await machine.withOneWaiting();
    const [waiting] = machine.engine.making;
    const second = await machine.start();
    assert.equal(second.id, waiting);
    assert.equal(await shell(second, 'hostname; echo x > /x && cat /x'), 'box\nx');
    assert.deepEqual([machine.hits, machine.misses], [1, 1]);
    await eventually(() => machine.waiting === 1);
    assert.notEqual([...machine.engine.making][0], second.id);
  });

  it('gives none to who needs another kind', async () => {
    await using machine = await Machine.open();
    await machine.withOneWaiting();
    const [waiting] = machine.engine.making;
    for (const other of [
      await machine.start({ limits: { ...limits, memoryMiB: 65 } }),
      await machine.start({ network: { kind: 'blocked' } }),
      await machine.start({}, { layers: [TestContent.ref('other')] }),
      await machine.instances.start(shape, async () => tenure, signal()),
    ])
      assert.notEqual(other.id, waiting);
    assert.deepEqual(machine.hits, 0);
  });

  it('gives each to one alone, whoever asks at the same time', async () => {
    await using machine = await Machine.open();
    await machine.instances.keepWarm(shape, warmth, { count: 3, forMs: 1000 }, signal());
    const made = new Set(machine.engine.making);
    assert.equal(made.size, 3);
    const got = await Promise.all(Array.from({ length: 5 }, () => machine.start()));
    assert.equal(new Set(got.map(({ id }) => id)).size, 5);
    assert.equal(got.filter(({ id }) => made.has(id)).length, 3);
    assert.deepEqual([machine.hits, machine.misses], [3, 2]);
  });

  it('never gives one that died while it waited, and makes another', async () => {
    await using machine = await Machine.open();
    await machine.withOneWaiting();
    const [dead] = machine.engine.making;
    assert.ok(dead);
    await machine.engine.crashWaiting(dead);
    await eventually(() => machine.waiting === 0);
    machine.nowMs += 60_000; // the pause after a failure
    await machine.warm.sweep();
    await eventually(() => machine.waiting === 1);
    assert.notEqual((await machine.start()).id, dead);
    assert.ok((await machine.engine.traces()).every((line) => !line.includes(dead)));
  });

  it('has one made anew, once, for whom it had one that cannot be bound', async () => {
    await using machine = await Machine.open();
    await machine.withOneWaiting();
    const [waiting] = machine.engine.making;
    assert.ok(waiting);
    machine.engine.faults.failTimes('bind', 1);
    const second = await machine.start();
    assert.notEqual(second.id, waiting);
    assert.equal(await shell(second, 'echo fine'), 'fine');
    assert.ok((await machine.engine.traces()).every((line) => !line.includes(waiting)));
    await eventually(() => machine.waiting === 1);
    machine.engine.faults.failTimes('bind', 2, new Error('no more'));
    await assert.rejects(machine.start(), /no more/);
  });

  it('leaves nothing of one whose taker gives up', async () => {
    await using machine = await Machine.open();
    const first = await machine.withOneWaiting();
    const held = machine.engine.faults.hold('bind');
    const givingUp = new AbortController();
    const refused = assert.rejects(machine.start({}, {}, givingUp.signal), /enough/);
    await held.reached;
    givingUp.abort(new Error('enough'));
    await refused;
    await machine.instances.close();
    for (const line of await machine.engine.traces()) assert.ok(line.includes(first.id), line);
  });

  it('waits with making while somebody waits for a start', async () => {
    await using machine = await Machine.open();
    const held = machine.engine.faults.hold('bind');
    const starting = machine.start();
    await held.reached;
    await delay(150); // longer than a refill waits
    assert.equal([...machine.engine.making].length, 1, 'its own');
    held.release();
    await starting;
    await eventually(() => machine.waiting === 1);
  });

  it('makes one beside starts that go on and on', async () => {
    await using machine = await Machine.open();
    const held = machine.engine.faults.hold('bind');
    const starting = machine.start();
    await held.reached;
    await eventually(() => {
      machine.nowMs += 10;
      return machine.waiting === 1;
    });
    held.release();
    await starting;
  });

  it('makes none beside a start that was given what waited, however long that goes on', async () => {
    await using machine = await Machine.open();
    await machine.withOneWaiting();
    const held = machine.engine.faults.hold('bind');
    const starting = machine.start();
    await held.reached;
    for (let turn = 0; turn < 40; turn++) {
      machine.nowMs += 1_000;
      await delay(10); // it is looked at every 100 ms
      assert.deepEqual(
        machine.warm.kinds().map(({ waiting, making }) => [waiting, making]),
        [[0, 0]],
      );
    }
    held.release();
    await starting;
    await eventually(() => machine.waiting >= 1);
  });

  it('takes away all under pressure, and makes none before that is over', async () => {
    await using machine = await Machine.open();
    await machine.withOneWaiting();
    machine.availableMiB = 900;
    await machine.warm.sweep();
    assert.equal(machine.waiting, 0);
    machine.availableMiB = 1_400;
    await machine.warm.sweep();
    const warmed = await machine.instances.keepWarm(shape, warmth, { count: 1, forMs: 1 }, signal());
    assert.deepEqual(warmed, { waiting: 0, bound: 'memory' });
    machine.availableMiB = 1_600;
    await machine.warm.sweep();
    await eventually(() => machine.waiting === 1);
  });

  it('takes a share of the memory and no more than so many', async () => {
    await using machine = await Machine.open(3);
    const wish = { count: 3, forMs: 1000 };
    assert.deepEqual(await machine.instances.keepWarm(shape, warmth, wish, signal()), { waiting: 3 });
    const more = { ...shape, layers: [TestContent.ref('other')] };
    const second = await machine.instances.keepWarm(more, warmth, wish, signal());
    assert.equal(second.bound, 'pool');
    assert.ok(second.waiting >= 1 && machine.waiting <= 3, 'they share what there is');
    await assert.rejects(machine.instances.keepWarm(shape, warmth, { count: 4, forMs: 1 }, signal()), {
      code: 'invalid-argument',
    });
  });

  it('takes away what nobody asks for any more', async () => {
    await using machine = await Machine.open();
    await machine.withOneWaiting();
    machine.nowMs += WINDOW_MS - 1;
    await machine.warm.sweep();
    assert.equal(machine.waiting, 1);
    machine.nowMs += 1;
    await machine.warm.sweep();
    assert.deepEqual([machine.warm.kinds().length, [...machine.engine.making].length], [0, 0]);
  });

  it('does not make for everybody who asks once, when nobody came back', async () => {
    await using machine = await Machine.open();
    for (let each = 0; each < 4; each++) {
      await machine.withOneWaiting();
      machine.nowMs += WINDOW_MS;
      await machine.warm.sweep();
    }
    await machine.start();
    assert.equal(machine.warm.kinds()[0]?.wanted, 0);
    await machine.start();
    await eventually(() => machine.waiting >= 1);
    await machine.start();
    assert.equal(machine.hits, 1);
  });

  it('leaves its room to who has none else', async () => {
    await using machine = await Machine.open();
    await machine.instances.keepWarm(shape, warmth, { count: 2, forMs: 60_000 }, signal());
    machine.engine.faults.failTimes(
      'prepare',
      1,
      new SkerryError('resource-exhausted', 'All addresses are in use.'),
    );
    await machine.start({ network: { kind: 'blocked' } });
    assert.equal(machine.waiting, 0);
  });

  it('forgets what its layers are taken from', async () => {
    await using machine = await Machine.open();
    const first = await machine.withOneWaiting();
    await machine.warm.forget(new Set([TestContent.ref('other')]));
    assert.equal(machine.waiting, 1);
    await machine.warm.forget(new Set([TestContent.ref('layer')]));
    assert.deepEqual([machine.warm.kinds().length, [...machine.engine.making].length], [0, 0]);
    for (const line of await machine.engine.traces()) assert.ok(line.includes(first.id), line);
  });

  it('pauses after failures, and says how it went', async () => {
    await using machine = await Machine.open();
    await machine.start();
    const left = machine.engine.faults.failTimes('prepare', 2);
    await eventually(() => left() < 2);
    await machine.warm.sweep();
    await delay(150);
    assert.equal(left(), 1, 'it is not tried again at once');
    machine.nowMs += 60_000;
    await machine.warm.sweep();
    await eventually(() => left() === 0);
    machine.nowMs += 60_000;
    await machine.warm.sweep();
    await eventually(() => machine.waiting === 1);
  });

  it('goes with the server, also while it makes one', async () => {
    await using machine = await Machine.open();
    const first = await machine.withOneWaiting();
    await machine.start({ network: { kind: 'blocked' } });
    const held = machine.engine.faults.hold('prepare');
    await held.reached;
    await machine.instances.close();
    const traces = await machine.engine.traces();
    assert.equal(traces.filter((line) => line.startsWith('directory')).length, 2, `${traces}`);
    assert.ok(traces.some((line) => line.includes(first.id)));
    machine.warm.refillSoon();
    await assert.rejects(machine.start(), { code: 'unavailable' });
  });

  it('that is off makes nothing, and says so', async () => {
    await using machine = await Machine.open(0);
    await machine.start();
    await machine.warm.sweep();
    assert.deepEqual(machine.warm.kinds(), []);
    await assert.rejects(machine.instances.keepWarm(shape, warmth, { count: 1, forMs: 1 }, signal()), {
      code: 'unavailable',
    });
  });
});
