import assert from 'node:assert/strict';
import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import type { RuntimeName } from '../../engine.ts';
import { makeTestGpus, TEST_GPU_GROUP, TEST_GPU_LIBRARY } from '../../testing/test-gpus.ts';
import { makeMountPoints } from './device-edits.ts';
import { MachineGpus } from './machine-gpus.ts';

const both = async () => new Set<RuntimeName>(['runc', 'gvisor']);
const node = (path: string, minor: number) => ({ path, major: 195, minor });

/** As `nvidia-ctk cdi generate --device-name-strategy=index,uuid` writes it for two GPUs. */
const nvidia = {
  cdiVersion: '0.5.0',
  kind: 'nvidia.com/gpu',
  devices: [
    { name: '0', containerEdits: { deviceNodes: [node('/dev/nvidia0', 0)] } },
    { name: '1', containerEdits: { deviceNodes: [node('/dev/nvidia1', 1)] } },
    { name: 'GPU-aa', containerEdits: { deviceNodes: [node('/dev/nvidia0', 0)] } },
    { name: 'GPU-bb', containerEdits: { deviceNodes: [node('/dev/nvidia1', 1)] } },
    { name: 'all', containerEdits: { deviceNodes: [node('/dev/nvidia0', 0), node('/dev/nvidia1', 1)] } },
  ],
  containerEdits: { deviceNodes: [node('/dev/nvidiactl', 255)] },
};

describe('MachineGpus', () => {
  let root: string;
  let count = 0;
  before(async () => {
    root = await mkdtemp(join(tmpdir(), 'machine-gpus-'));
  });
  after(() => rm(root, { recursive: true }));

  async function machine(content: object, gpuTypes: string[] = []) {
    const directory = join(root, String(count++));
    await mkdir(directory);
    await writeFile(join(directory, 'a.json'), JSON.stringify(content), { mode: 0o644 });
    return new MachineGpus({ cdiDirs: [directory], gpuTypes }, both, async () => [
      { name: 'NVIDIA H100 80GB HBM3', uuid: 'GPU-aa', minor: 0 },
      { name: 'Tesla T4', uuid: 'GPU-bb', minor: 1 },
    ]);
  }
  const types = async (gpus: MachineGpus) =>
    Object.fromEntries((await gpus.find()).gpus.map((gpu) => [gpu.name, gpu.types]));

  it('counts each GPU once, however often it is named, and knows its model', async () => {
    assert.deepEqual(await types(await machine(nvidia)), {
      'nvidia.com/gpu=0': ['H100'],
      'nvidia.com/gpu=1': ['T4'],
    });
  });

  it('counts a GPU once that a plugin of Kubernetes describes as well, by another name', async () => {
    const directory = join(root, 'twice');
    await mkdir(directory);
    const [, , , second] = nvidia.devices;
    const plugins = { ...nvidia, kind: 'k8s.device-plugin.nvidia.com/gpu', devices: [second] };
    for (const [name, content] of Object.entries({ 'k8s.json': plugins, 'nvidia.json': nvidia }))
      await writeFile(join(directory, name), JSON.stringify(content), { mode: 0o644 });
    const { gpus } = await new MachineGpus({ cdiDirs: [directory], gpuTypes: ['*:T4'] }, both).find();
    assert.deepEqual(
      gpus.map(({ name }) => name),
      ['nvidia.com/gpu=0', 'nvidia.com/gpu=1'],
    );
  });

  it('takes the type that somebody named: in the settings, or in the file', async () => {
    const [first, ...rest] = nvidia.devices;
    const annotated = {
      ...nvidia,
      devices: [{ ...first, annotations: { 'skerry/gpu-type': 'A100-40GB' } }, ...rest],
    };
    assert.deepEqual((await types(await machine(annotated)))['nvidia.com/gpu=0'], ['A100-40GB', 'A100']);
    const named = await machine(annotated, ['nvidia.com/gpu=0:B200', '*:L4']);
    assert.deepEqual(await types(named), {
      'nvidia.com/gpu=0': ['B200', 'B200+'],
      'nvidia.com/gpu=1': ['L4'],
    });
  });

  it('does not sell a part of a GPU as the whole', async () => {
    const part = (name: string, cap: number) => ({
      name,
      containerEdits: {
        deviceNodes: [
          node('/dev/nvidia0', 0),
          { path: `/dev/nvidia-caps/nvidia-cap${cap}`, major: 237, minor: cap },
        ],
      },
    });
    const mig = { ...nvidia, devices: [part('0:0', 21), part('0:1', 22)] };
    assert.deepEqual(await types(await machine(mig)), { 'nvidia.com/gpu=0:0': [], 'nvidia.com/gpu=0:1': [] });
    const named = await machine(mig, ['nvidia.com/gpu=0:1:MIG-1G-10GB']);
    assert.deepEqual((await types(named))['nvidia.com/gpu=0:1'], ['MIG-1G-10GB']);
  });

  it('leaves out what is no GPU, and what cannot be used, which it says', async () => {
    const other = { ...nvidia, kind: 'vendor.test/net' };
    assert.deepEqual(await types(await machine(other)), {});
    const broken = {
      ...nvidia,
      kind: 'vendor.test/gpu',
      devices: [{ name: 'x', containerEdits: { deviceNodes: [{ path: '/dev/not-there' }] } }],
    };
    const { gpus, problems } = await (await machine(broken)).find();
    assert.deepEqual(gpus, []);
    assert.match(problems[0]?.reason ?? '', /vendor\.test\/gpu=x cannot be used.*not-there/);
  });

  it('makes of the devices what the container needs, once', async () => {
    const { directory } = await makeTestGpus(root);
    const gpus = new MachineGpus({ cdiDirs: [directory], gpuTypes: [] }, both);
    const { edits } = await gpus.take(['skerry.test/gpu=0', 'skerry.test/gpu=1']);
    assert.deepEqual(edits.env, {
      TEST_GPUS: 'some',
      FROM_THE_IMAGE: 'no',
      TEST_GPU_0: 'yes',
      TEST_GPU_1: 'yes',
    });
    assert.deepEqual(edits.devices, [
      { path: '/dev/test-gpu0', type: 'c', major: 240, minor: 0, fileMode: 0o660, gid: TEST_GPU_GROUP },
      { path: '/dev/test-gpu1', type: 'c', major: 240, minor: 1, fileMode: 0o660, gid: TEST_GPU_GROUP },
    ]);
    assert.deepEqual(edits.rules[1], { allow: true, type: 'c', major: 240, minor: 1, access: 'r' });
    assert.equal(edits.mounts.length, 2);
    assert.ok(edits.mounts[0]?.options.includes('ro'));
    assert.deepEqual([edits.hooks.createRuntime.length, edits.hooks.createContainer.length], [1, 1]);
    assert.deepEqual(edits.additionalGids, [TEST_GPU_GROUP]);
    const points = await makeMountPoints(join(root, 'points'), edits);
    assert.equal(await readFile(join(points, TEST_GPU_LIBRARY), 'utf8'), '');
    await assert.rejects(gpus.take(['skerry.test/gpu=7']), { code: 'unavailable' });
  });

  it('runs no hook that somebody else than root could change', async () => {
    const hook = join(root, 'hook');
    await writeFile(hook, '#!/bin/sh\n', { mode: 0o777 });
    const containerEdits = { hooks: [{ hookName: 'createContainer', path: hook }] };
    const open = { ...nvidia, kind: 'vendor.test/gpu', devices: [{ name: 'x', containerEdits }] };
    const gpus = await machine(open);
    await chmod(hook, 0o777);
    assert.match((await gpus.find()).problems[0]?.reason ?? '', /must belong to root/);
    await chmod(hook, 0o755);
    assert.equal((await gpus.find()).gpus.length, 1);
    await chmod(hook, 0o644);
    assert.match((await gpus.find()).problems[0]?.reason ?? '', /is no program/);
  });

  it('chooses a runtime that can hand on all of them', async () => {
    const directory = join(root, 'runtimes');
    await mkdir(directory);
    await writeFile(join(directory, 'a.json'), JSON.stringify(nvidia), { mode: 0o644 });
    const only = (name: RuntimeName) =>
      new MachineGpus({ cdiDirs: [directory], gpuTypes: [] }, async () => new Set([name])).take([
        'nvidia.com/gpu=0',
      ]);
    assert.equal((await only('runc')).runtimeFor('auto'), 'runc');
    assert.equal((await only('gvisor')).runtimeFor('auto'), 'gvisor');
    const taken = await only('runc');
    assert.throws(() => taken.runtimeFor('gvisor'), { code: 'unavailable', message: /gvisor/ });
  });
});
