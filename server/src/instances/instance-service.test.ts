import assert from 'node:assert/strict';
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { agentBinaryPath } from '../agent/agent-binary.ts';
import { createBusyboxLayer } from '../engines/testing/busybox-layer.ts';
import { FakeEngine } from '../engines/testing/fake-engine.ts';
import { shell } from '../engines/testing/guest.ts';
import { TestContent } from '../engines/testing/test-content.ts';
import { delay } from '../platform/wait.ts';
import { createLogger } from '../telemetry/logger.ts';
import { InstanceService } from './instance-service.ts';

const limits = { memoryMiB: 64, milliCpu: 1000, milliCpuRequest: 500, pids: 100 };
const tenure = { hostname: 'box', limits, network: { kind: 'open' }, mounts: [] } as const;
const shape = { layers: [TestContent.ref('layer')], runtime: 'runc' } as const;
const waiting = { ...shape, expects: tenure };
const signal = () => AbortSignal.timeout(60_000);

/** A service over a fake engine that has one layer; `restart` makes another over the same. */
class Machine implements AsyncDisposable {
  readonly #root: string;
  engine: FakeEngine;
  instances: InstanceService;

  static async open(): Promise<Machine> {
    const root = await mkdtemp(join(tmpdir(), 'skerry-instances-'));
    await createBusyboxLayer(join(root, 'layer'), ['sh', 'echo']);
    const machine = new Machine(root);
    await machine.engine.open();
    return machine;
  }

  private constructor(root: string) {
    this.#root = root;
    this.engine = new FakeEngine(root, agentBinaryPath(), new TestContent(root));
    this.instances = new InstanceService({
      engine: this.engine,
      logger: createLogger('silent'),
      firstPauseMs: 1,
    });
  }

  /** As the next server finds it. */
  async restart(): Promise<void> {
    await this.instances.close();
    await this.engine.close();
    const { engine, instances } = new Machine(this.#root);
    Object.assign(this, { engine, instances });
    await this.engine.open();
  }

  /** Resolves once nothing is left of any instance. */
  async empty(): Promise<void> {
    const deadline = signal();
    while ((await this.engine.traces()).length > 0) await delay(2, deadline);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.instances.close();
    await this.engine.close();
    const last = new FakeEngine(this.#root, '', new TestContent(this.#root));
    await last.adopt(new Set());
    await last.remove();
  }
}

describe('instances', () => {
  it("what is nobody's goes with the server, what is somebody's stays", async () => {
    await using machine = await Machine.open();
    const { instances, engine } = machine;
    const kept = await instances.start(shape, async () => tenure, signal());
    const [cold, warm] = [
      await instances.prepare(shape, signal()),
      await instances.prepare(waiting, signal()),
    ];
    await instances.close();
    assert.deepEqual([...engine.instances.keys()], [kept.id]);
    for (const line of await engine.traces()) assert.ok(line.includes(kept.id), line);
    for (const prepared of [cold, warm]) {
      await assert.rejects(prepared.bind(tenure, signal()), { code: 'sandbox-ended' });
    }
    await assert.rejects(instances.prepare(shape, signal()), { code: 'unavailable' });
    assert.equal(await shell(kept, 'echo fine'), 'fine');
    await instances.destroy(kept.id);
  });

  for (const point of ['prepare', 'bind', 'bound'] as const) {
    it(`one that is being made goes with the server (${point})`, async () => {
      await using machine = await Machine.open();
      const { instances, engine } = machine;
      const held = engine.faults.hold(point);
      const starting = instances.start(shape, async () => tenure, signal());
      const refused = assert.rejects(starting, { code: 'sandbox-ended' });
      await held.reached;
      await instances.close();
      await refused;
      assert.deepEqual(await engine.traces(), []);
    });

    it(`one that is destroyed while it is made never is (${point})`, async () => {
      await using machine = await Machine.open();
      const { instances, engine } = machine;
      const prepared = point === 'prepare' ? undefined : await instances.prepare(shape, signal());
      const held = engine.faults.hold(point);
      const making = prepared?.bind(tenure, signal()) ?? instances.prepare(shape, signal());
      const refused = assert.rejects(making, { code: 'sandbox-ended' });
      await held.reached;
      const [id] = engine.making;
      assert.ok(id);
      await instances.destroy(id);
      await refused;
      assert.deepEqual(await engine.traces(), []);
    });

    it(`one whose making fails, and whose removal fails as well, goes in the end (${point})`, async () => {
      await using machine = await Machine.open();
      const { instances, engine } = machine;
      engine.faults.failTimes(point, 1, new Error('no room'));
      const left = engine.faults.failTimes('undo', 3);
      await assert.rejects(
        instances.start(shape, async () => tenure, signal()),
        /no room/,
      );
      if (point !== 'prepare') {
        assert.notDeepEqual(await engine.traces(), []);
        await machine.empty();
        assert.equal(left(), 0);
      }
      assert.deepEqual([...engine.making], []);
    });
  }

  it('one that cannot be destroyed is told of, and destroyed once it can be', async () => {
    await using machine = await Machine.open();
    const { instances, engine } = machine;
    const { id } = await instances.start(shape, async () => tenure, signal());
    const left = engine.faults.failTimes('destroy', 10);
    await assert.rejects(instances.destroy(id), /injected/);
    await machine.empty();
    assert.equal(left(), 0);
    await instances.destroy(id);
  });

  it('what an earlier server left and cannot be removed at once goes as soon as it can', async () => {
    await using machine = await Machine.open();
    const known = await machine.instances.start(shape, async () => tenure, signal());
    const unknown = await machine.instances.start(shape, async () => tenure, signal());
    await machine.restart();
    const { instances, engine } = machine;
    const left = engine.faults.failTimes('undo', 3);
    const adopted = await instances.adopt(new Set([known.id]));
    assert.deepEqual([...adopted.keys()], [known.id]);
    const ofUnknown = async () => (await engine.traces()).filter((line) => line.includes(unknown.id));
    assert.notDeepEqual(await ofUnknown(), []);
    const deadline = signal();
    while ((await ofUnknown()).length > 0) await delay(2, deadline);
    assert.equal(left(), 0);
    await instances.destroy(known.id);
  });

  it("is somebody's once, whoever asks at the same time", async () => {
    await using machine = await Machine.open();
    const { instances } = machine;
    const prepared = await instances.prepare(waiting, signal());
    const [first, second] = await Promise.allSettled([
      prepared.bind(tenure, signal()),
      prepared.bind(tenure, signal()),
    ]);
    assert.equal(second.status === 'rejected' && second.reason.code, 'conflict');
    assert.ok(first.status === 'fulfilled');
    assert.equal(await shell(first.value, 'echo fine'), 'fine');
    await assert.rejects(prepared.bind(tenure, signal()), { code: 'conflict' });
    assert.equal(await shell(first.value, 'echo fine'), 'fine');
    await instances.destroy(prepared.id);
  });

  it("one that dies while it waits is nobody's, and leaves nothing", async () => {
    await using machine = await Machine.open();
    const { instances, engine } = machine;
    const prepared = await instances.prepare(waiting, signal());
    await engine.crashWaiting(prepared.id);
    await assert.rejects(prepared.bind(tenure, signal()), { code: 'sandbox-ended' });
    assert.deepEqual(await engine.traces(), []);
  });
});
