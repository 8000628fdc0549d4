import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { agentBinaryPath } from '../../agent/agent-binary.ts';
import { newInstanceId } from '../../ids.ts';
import { findProgram } from '../../platform/find-program.ts';
import { createBusyboxLayer } from '../testing/busybox-layer.ts';
import { limits, signal } from '../testing/engine-suite.ts';
import { shell } from '../testing/guest.ts';
import { hostTraces } from '../testing/host-traces.ts';
import { runcEngine } from '../testing/runc-engine.ts';
import { TestContent } from '../testing/test-content.ts';
import { instanceName, Layout } from './layout.ts';

const usable =
  process.getuid?.() === 0 && existsSync(agentBinaryPath()) && findProgram('busybox') && findProgram('runc');

test('nothing is left of a mount that a server did not finish; what it finished stays', {
  skip: usable ? false : 'needs root, the agent, busybox and runc',
}, async () => {
  const scratch = await mkdtemp(join(tmpdir(), 'skerry-mounts-'));
  const [dataDir, runDir] = [join(scratch, 'data'), join(scratch, 'run')];
  await createBusyboxLayer(join(scratch, 'layer'));
  const open = async () => {
    const made = runcEngine(dataDir, scratch, runDir);
    await made.open();
    return made;
  };
  const shape = { id: newInstanceId(), layers: [TestContent.ref('layer')], runtime: 'runc' } as const;
  const mounts = join(new Layout(dataDir, runDir).of(shape.id).diskDir, 'mounts');
  let engine = await open();
  try {
    const prepared = await engine.prepare(shape, signal());
    const tenure = { hostname: 'held', limits, network: { kind: 'blocked' }, mounts: [] } as const;
    const instance = await prepared.bind(tenure, signal());
    await instance.mount('/whole', [], (directory) => writeFile(join(directory, 'file'), 'kept'));
    const written = Promise.withResolvers<void>();
    // Its server never gets any further.
    void instance.mount('/half', [], async (directory) => {
      await writeFile(join(directory, 'file'), 'secret');
      written.resolve();
      await new Promise(() => {});
    });
    await written.promise;
    assert.equal((await readdir(mounts)).length, 2);
    await engine.close();
    engine = await open();
    const adopted = (await engine.adopt(new Set([shape.id]))).instances.get(shape.id);
    assert.ok(adopted);
    assert.equal((await readdir(mounts)).length, 1);
    await adopted.mount('/half', []);
    assert.equal(await shell(adopted, 'ls -A /half; cat /whole/file'), 'kept');
    await adopted.unmount('/whole');
    await adopted.unmount('/half');
    assert.deepEqual(await readdir(mounts), []);
  } finally {
    await engine.destroy(shape.id);
    await engine.close();
    await engine.remove();
    assert.deepEqual(await hostTraces([instanceName(dataDir)]), []);
    await rm(scratch, { recursive: true, force: true });
  }
});
