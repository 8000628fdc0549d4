import assert from 'node:assert/strict';
import { test } from 'node:test';
import { typesOfModel, typesOfName } from './gpu-types.ts';

const models: Readonly<Record<string, readonly string[]>> = {
  'Tesla T4': ['T4'],
  'NVIDIA L4': ['L4'],
  'NVIDIA A10': ['A10'],
  'NVIDIA A10G': ['A10G', 'A10'],
  'NVIDIA L40S': ['L40S'],
  'NVIDIA A100-SXM4-80GB': ['A100-80GB', 'A100'],
  'NVIDIA A100-SXM4-40GB': ['A100-40GB', 'A100'],
  'NVIDIA A100 80GB PCIe': ['A100-80GB', 'A100'],
  'NVIDIA A100-PCIE-40GB': ['A100-40GB', 'A100'],
  'NVIDIA H100 80GB HBM3': ['H100'],
  'NVIDIA H100 PCIe': ['H100'],
  'NVIDIA H100 NVL': ['H100'],
  'NVIDIA H200': ['H200'],
  'NVIDIA B200': ['B200', 'B200+'],
  'NVIDIA RTX PRO 6000 Blackwell Server Edition': ['RTX-PRO-6000'],
  'NVIDIA GeForce RTX 4090': ['RTX-4090'],
  'NVIDIA GH200 480GB': ['GH200'],
  'AMD Instinct MI300X': ['MI300X'],
  NVIDIA: [],
};

for (const [model, types] of Object.entries(models))
  test(`${model} is asked for as ${types.join(' or ') || 'any only'}`, () => {
    assert.deepEqual(typesOfModel(model), types);
  });

test('a type named by hand is the type, and what it is sold as besides', () => {
  assert.deepEqual(typesOfName('a100-80gb'), ['A100-80GB', 'A100']);
  assert.deepEqual(typesOfName('H100'), ['H100']);
});
