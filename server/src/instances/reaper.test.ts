import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { agentBinaryPath } from '../agent/agent-binary.ts';
import { createOciEngine } from '../engines/oci/engine.ts';
import { defaultRunDir, instanceName, Layout } from '../engines/oci/layout.ts';
import { createBusyboxLayer } from '../engines/testing/busybox-layer.ts';
import { hostTraces } from '../engines/testing/host-traces.ts';
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

test('an instance that could not be removed is removed once it can be, and leaves its network to others meanwhile', {
  skip: usable ? false : 'needs root, the agent and busybox',
}, async () => {
  const scratch = await mkdtemp(join(tmpdir(), 'skerry-reaper-'));
  const dataDir = join(scratch, 'data');
  const engine = createOciEngine({
    config: {
      runtime: 'runc',
      extraCaFile: '',
      allowPrivate: [],
      subnet: 'auto',
      nameservers: ['192.0.2.53'],
      runscPath: '',
    },
    dataDir,
    content: new TestContent(scratch),
    agentBinaryPath: agentBinaryPath(),
    logger: createLogger('silent'),
    networkPoolSize: 0,
  });
  await engine.open();
  const instances = new InstanceService({ engine, logger: createLogger('silent') });
  try {
    await createBusyboxLayer(join(scratch, 'layer'));
    const create = () =>
      instances.start(
        { layers: [TestContent.ref('layer')], runtime: 'runc' },
        {
          hostname: 'held',
          limits: { memoryMiB: 256, milliCpu: 1000, milliCpuRequest: 500, pids: 100 },
          network: { kind: 'blocked' },
          mounts: [],
        },
        AbortSignal.timeout(60_000),
      );
    const held = await create();
    const { diskDir } = new Layout(dataDir, defaultRunDir(dataDir)).of(held.id);
    const thorn = join(diskDir, 'thorn');
    await mkdir(thorn);
    await run(['mount', '-t', 'tmpfs', 'thorn', thorn]);
    let other: Awaited<ReturnType<typeof create>>;
    try {
      await assert.rejects(instances.destroy(held.id), /EBUSY/);
      assert.equal((await held.exited).reason, 'destroyed');
      other = await create();
    } finally {
      await run(['umount', thorn]);
    }
    const deadline = performance.now() + 60_000;
    while (existsSync(diskDir) && performance.now() < deadline) await delay(50);
    assert.equal(existsSync(diskDir), false, 'removed without being asked again');
    await instances.destroy(held.id);
    await other.stats();
    await other.setNetworkPolicy({ kind: 'open' }); // throws when its slot was released with the first one's
    await instances.destroy(other.id);
  } finally {
    await instances.close();
    await engine.close();
    await engine.remove();
    await rm(scratch, { recursive: true, force: true });
  }
  assert.deepEqual(await hostTraces([instanceName(dataDir)]), []);
});
