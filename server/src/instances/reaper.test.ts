import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { agentBinaryPath } from '../agent/agent-binary.ts';
import type { Engine, Instance } from '../engines/engine.ts';
import { defaultRunDir, Layout } from '../engines/oci/layout.ts';
import { Leftovers } from '../engines/oci/leftovers.ts';
import { createBusyboxLayer } from '../engines/testing/busybox-layer.ts';
import { hostTraces } from '../engines/testing/host-traces.ts';
import { runcEngine } from '../engines/testing/runc-engine.ts';
import { TestContent } from '../engines/testing/test-content.ts';
import { run } from '../platform/command.ts';
import { findProgram } from '../platform/find-program.ts';
import { delay } from '../platform/wait.ts';
import { createLogger } from '../telemetry/logger.ts';
import { InstanceService } from './instance-service.ts';
import { Reaper } from './reaper.ts';

test('tries until it works, one try at a time for a name, and closes while it waits', async () => {
  const reaper = new Reaper(createLogger('silent'), 1);
  const done = Promise.withResolvers<void>();
  let tries = 0;
  const remove = async () => {
    if (++tries < 3) throw new Error('busy');
    done.resolve();
  };
  reaper.retry('a', remove);
  reaper.retry('a', remove);
  await done.promise;
  assert.equal(tries, 3);
  const patient = new Reaper(createLogger('silent'), 1_000_000);
  patient.retry('b', () => Promise.reject(new Error('never called')));
  await patient.close();
  patient.retry('b', () => Promise.reject(new Error('never called')));
  await reaper.close();
});

const usable =
  process.getuid?.() === 0 && existsSync(agentBinaryPath()) && findProgram('busybox') !== undefined;

/** The engine of this machine with one layer, and instances over it; `restart` has others take over. */
class Machine implements AsyncDisposable {
  readonly #scratch: string;
  readonly #dataDir: string;
  readonly layout: Layout;
  #engine: Engine;
  instances: InstanceService;

  static async open(): Promise<Machine> {
    const scratch = await mkdtemp(join(tmpdir(), 'skerry-reaper-'));
    await createBusyboxLayer(join(scratch, 'layer'));
    const machine = new Machine(scratch);
    await machine.#engine.open();
    return machine;
  }

  private constructor(scratch: string) {
    this.#scratch = scratch;
    this.#dataDir = join(scratch, 'data');
    this.layout = new Layout(this.#dataDir, defaultRunDir(this.#dataDir));
    [this.#engine, this.instances] = this.#make();
  }

  #make(): [Engine, InstanceService] {
    const logger = createLogger('silent');
    const engine = runcEngine(this.#dataDir, this.#scratch);
    return [engine, new InstanceService({ engine, logger })];
  }

  start(): Promise<Instance> {
    return this.instances.start(
      { layers: [TestContent.ref('layer')], runtime: 'runc' },
      async () => ({
        hostname: 'held',
        limits: { memoryMiB: 256, milliCpu: 1000, milliCpuRequest: 500, pids: 100 },
        network: { kind: 'blocked' },
        mounts: [],
      }),
      AbortSignal.timeout(60_000),
    );
  }

  /** A mount among its files, which no removal of files gets past, while `work` is done. */
  async thorn({ id }: Instance, work: () => Promise<void>): Promise<void> {
    const thorn = join(this.layout.of(id).diskDir, 'thorn');
    await mkdir(thorn);
    await run(['mount', '-t', 'tmpfs', 'thorn', thorn]);
    try {
      await work();
    } finally {
      await run(['umount', thorn]);
    }
  }

  /** Resolves once its files are gone. */
  async gone({ id }: Instance): Promise<void> {
    const deadline = AbortSignal.timeout(60_000);
    while (existsSync(this.layout.of(id).diskDir)) await delay(50, deadline);
  }

  async restart(): Promise<void> {
    await this.instances.close();
    await this.#engine.close();
    [this.#engine, this.instances] = this.#make();
    await this.#engine.open();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.instances.close();
    await this.#engine.close();
    await this.#engine.remove();
    await rm(this.#scratch, { recursive: true, force: true });
    assert.deepEqual(await hostTraces([this.layout.instance]), []);
  }
}

const skip = usable ? false : 'needs root, the agent and busybox';

test('an instance that could not be removed is removed once it can be, and leaves its network to others meanwhile', {
  skip,
}, async () => {
  await using machine = await Machine.open();
  const held = await machine.start();
  let other: Instance | undefined;
  await machine.thorn(held, async () => {
    await assert.rejects(machine.instances.destroy(held.id), /EBUSY/);
    assert.equal((await held.exited).reason, 'destroyed');
    other = await machine.start();
  });
  await machine.gone(held);
  await machine.instances.destroy(held.id);
  assert.ok(other);
  await other.stats();
  await other.setNetworkPolicy({ kind: 'open' }); // throws when its slot was released with the first one's
  await machine.instances.destroy(other.id);
});

test('what an earlier server left is noted while it cannot be removed, and removed once it can be', {
  skip,
}, async () => {
  await using machine = await Machine.open();
  const held = await machine.start();
  const notes = () => Leftovers.read(machine.layout.leftoversFile).map(({ what }) => what);
  let other: Instance | undefined;
  await machine.thorn(held, async () => {
    await machine.restart();
    assert.equal((await machine.instances.adopt(new Set())).size, 0);
    assert.deepEqual(notes(), [`sandbox ${held.id}`]);
    other = await machine.start();
  });
  await machine.gone(held);
  const deadline = AbortSignal.timeout(60_000);
  while (notes().length > 0) await delay(5, deadline);
  assert.ok(other);
  await other.setNetworkPolicy({ kind: 'open' });
  await machine.instances.destroy(other.id);
});
