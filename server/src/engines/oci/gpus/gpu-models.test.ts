import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { modelOf, modelsOfCsv, nvidiaModels } from './gpu-models.ts';
import { driverVersion } from './gpu-runtimes.ts';

const information = (minor: number) => `Model: \t\t NVIDIA H100 80GB HBM3
IRQ:   \t\t 42
GPU UUID: \t GPU-fef8089b-6d2b-4a11-8f0a-0123456789a${minor}
Video BIOS: \t 96.00.89.00.01
Bus Location: \t 0000:00:05.0
Device Minor: \t ${minor}
GPU Excluded:\t No
`;

test("the driver's own directory tells model, UUID and number", async () => {
  const root = await mkdtemp(join(tmpdir(), 'nvidia-'));
  for (const minor of [0, 1]) {
    await mkdir(join(root, `0000:0${minor}:05.0`));
    await writeFile(join(root, `0000:0${minor}:05.0`, 'information'), information(minor));
  }
  const found = await nvidiaModels(root);
  assert.deepEqual(found.map(({ name, minor }) => [name, minor]).sort(), [
    ['NVIDIA H100 80GB HBM3', 0],
    ['NVIDIA H100 80GB HBM3', 1],
  ]);
  await rm(root, { recursive: true });
});

test('a UUID that the driver does not know yet, and a file that says nothing', () => {
  assert.equal(modelOf(information(0).replace(/GPU-\S+/, 'GPU-????????-????'))?.uuid, '');
  assert.equal(modelOf('Model: X\n'), undefined);
});

test('lines of nvidia-smi, and what is none', () => {
  const text = '0, GPU-fef8089b-6d2b, NVIDIA L4\n1, GPU-0a, NVIDIA A100-SXM4-80GB\nNo devices were found\n';
  assert.deepEqual(modelsOfCsv(text), [
    { name: 'NVIDIA L4', uuid: 'GPU-fef8089b-6d2b', minor: 0 },
    { name: 'NVIDIA A100-SXM4-80GB', uuid: 'GPU-0a', minor: 1 },
  ]);
});

test('the version of the driver, of either kind', () => {
  const open = 'NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.159.04  Release Build  (x)\n';
  const closed = 'NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.183.01  Sun May 12 19:39:15 UTC 2024\n';
  assert.deepEqual([open, closed, ''].map(driverVersion), ['580.159.04', '535.183.01', undefined]);
});
