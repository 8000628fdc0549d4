import assert from 'node:assert/strict';
import { chmodSync, existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { agentBinaryPath, enginePrograms } from '../../agent/agent-binary.ts';
import { newInstanceId } from '../../ids.ts';
import { findProgram } from '../../platform/find-program.ts';
import { createLogger } from '../../telemetry/logger.ts';
import { createBusyboxLayer } from '../testing/busybox-layer.ts';
import { TEST_ENGINE_CONFIG } from '../testing/engine-config.ts';
import { limits, signal } from '../testing/engine-suite.ts';
import { shell } from '../testing/guest.ts';
import { hostTraces } from '../testing/host-traces.ts';
import { TestContent } from '../testing/test-content.ts';
import { createOciEngine } from './engine.ts';
import { instanceName } from './layout.ts';

const runc = findProgram('runc');
const usable = process.getuid?.() === 0 && existsSync(agentBinaryPath()) && findProgram('busybox') && runc;

test('one that a snapshot paused and no server could resume runs on as soon as one can', {
  skip: usable ? false : 'needs root, the agent, busybox and runc',
}, async () => {
  const scratch = await mkdtemp(join(tmpdir(), 'skerry-paused-'));
  const dataDir = join(scratch, 'data');
  await createBusyboxLayer(join(scratch, 'layer'));
  // A runtime that cannot resume while a file is there.
  const [bin, broken] = [join(scratch, 'bin'), join(scratch, 'broken')];
  mkdirSync(bin);
  const script = `#!/bin/sh
case " $* " in *" resume "*) [ ! -e ${broken} ] || exit 1 ;; esac
exec ${runc} "$@"
`;
  writeFileSync(join(bin, 'runc'), script);
  chmodSync(join(bin, 'runc'), 0o755);
  const { PATH } = process.env;
  process.env.PATH = `${bin}:${PATH}`;
  const open = async () => {
    const made = createOciEngine({
      config: { ...TEST_ENGINE_CONFIG, runtime: 'runc', runscPath: '' },
      dataDir,
      content: new TestContent(scratch),
      ...enginePrograms(),
      logger: createLogger('silent'),
      networkPoolSize: 0,
    });
    await made.open();
    return made;
  };
  const shape = { id: newInstanceId(), layers: [TestContent.ref('layer')], runtime: 'runc' } as const;
  let engine = await open();
  try {
    const prepared = await engine.prepare(shape, signal());
    const network = { kind: 'blocked' } as const;
    const instance = await prepared.bind({ hostname: 'held', limits, network, mounts: [] }, signal());
    assert.equal(await shell(instance, 'echo up'), 'up');
    writeFileSync(broken, '');
    await instance.commit(TestContent.ref('snapshot'), { move: false });
    await engine.close();
    engine = await open();
    const adopted = (await engine.adopt(new Set([shape.id]))).instances.get(shape.id);
    assert.ok(adopted);
    rmSync(broken);
    assert.equal(await shell(adopted, 'echo on'), 'on');
  } finally {
    process.env.PATH = PATH;
    await engine.destroy(shape.id);
    await engine.close();
    await engine.remove();
    assert.deepEqual(await hostTraces([instanceName(dataDir)]), []);
    await rm(scratch, { recursive: true, force: true });
  }
});
