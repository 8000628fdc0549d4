import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { typesOfModel } from '../oci/gpus/gpu-types.ts';
import { gpuKinds, inWords, nodesWith, tolerationsOf } from './gpu-kinds.ts';

const kindOf = (type: string, named: readonly string[] = []) => {
  const found = gpuKinds(named).filter((kind) => kind.type === type);
  assert.equal(found.length, 1, type);
  return found[0] ?? assert.fail();
};

describe('GPUs of a cluster', () => {
  it('are those of NVIDIA that Modal has, by the labels that NVIDIA and Google put on nodes', () => {
    const types = ['T4', 'L4', 'A10', 'A10G', 'L40S', 'A100', 'A100-40GB', 'A100-80GB', 'H100', 'H200'];
    for (const type of [...types, 'B200', 'B200+', 'RTX-PRO-6000']) {
      const { resource, labels } = kindOf(type);
      assert.equal(resource, 'nvidia.com/gpu', type);
      const products = labels.find(({ key }) => key === 'nvidia.com/gpu.product')?.values ?? [];
      assert.ok(products.length > 0, type);
      // As a machine's GPU of that model is called.
      for (const product of products)
        if (!product.includes('B300'))
          assert.ok(typesOfModel(product.replaceAll('-', ' ')).includes(type), `${product} is ${type}`);
    }
    assert.deepEqual(nodesWith(kindOf('A100-80GB')), [
      {
        matchExpressions: [
          {
            ...{ key: 'nvidia.com/gpu.product', operator: 'In' },
            values: ['NVIDIA-A100-SXM4-80GB', 'NVIDIA-A100-80GB-PCIe', 'A100-SXM4-80GB'],
          },
        ],
      },
      {
        matchExpressions: [
          { key: 'cloud.google.com/gke-accelerator', operator: 'In', values: ['nvidia-a100-80gb'] },
        ],
      },
    ]);
  });

  it('are of either size where none is said, and on any node that has one where no type is', () => {
    const both = nodesWith(kindOf('A100'))?.flatMap(({ matchExpressions = [] }) => matchExpressions);
    assert.deepEqual(
      both?.map(({ values }) => values?.length),
      [7, 2],
    );
    assert.equal(nodesWith(kindOf('ANY')), undefined);
    assert.equal(kindOf('ANY').resource, 'nvidia.com/gpu');
  });

  it('are what the operator says, with a label or by the resource alone, and nothing else then', () => {
    const named = [
      'amd.com/gpu:MI300X',
      'amd.com/gpu:any',
      'nvidia.com/mig-1g.10gb:mig-1g-10gb',
      'nvidia.com/gpu@example.com/model=big.one:A100-80GB',
      'nvidia.com/gpu@model=small:A100-40GB',
    ];
    const plain = (type: string) => {
      const { resource, labels } = kindOf(type, named);
      return [resource, labels];
    };
    assert.deepEqual(plain('MI300X'), ['amd.com/gpu', []]);
    assert.deepEqual(plain('ANY'), ['amd.com/gpu', []]);
    assert.deepEqual(plain('MIG-1G-10GB'), ['nvidia.com/mig-1g.10gb', []]);
    const [big, small] = [
      { key: 'example.com/model', values: ['big.one'] },
      { key: 'model', values: ['small'] },
    ];
    assert.deepEqual(plain('A100-80GB'), ['nvidia.com/gpu', [big]]);
    assert.deepEqual(plain('A100'), ['nvidia.com/gpu', [big, small]]);
    assert.notDeepEqual(plain('H100')[1], []);
  });

  it('of one type and two resources are those of the first', () => {
    const named = ['one.test/gpu:X1', 'two.test/gpu:X1'];
    assert.deepEqual(kindOf('X1', named).resource, 'one.test/gpu');
  });

  it('are not those of a machine', () => {
    for (const entry of ['nvidia.com/gpu=0:A100', '*:A100', 'gpu:A100', 'nvidia.com/gpu@model:A100'])
      assert.throws(() => gpuKinds([entry]), { code: 'invalid-argument', message: /RESOURCE:TYPE/ });
  });

  it('are to be had on nodes that are kept for them', () => {
    const keys = (type: string, named: readonly string[] = []) =>
      tolerationsOf(kindOf(type, named)).map(({ key }) => key);
    assert.deepEqual(keys('T4'), ['nvidia.com/gpu']);
    assert.deepEqual(keys('X1', ['nvidia.com/mig-1g.10gb:X1']), ['nvidia.com/mig-1g.10gb', 'nvidia.com/gpu']);
  });

  it('are named in words', () => {
    assert.equal(inWords({ kind: kindOf('T4'), count: 2 }), '2 × nvidia.com/gpu of type T4');
    assert.equal(inWords({ kind: kindOf('ANY'), count: 1 }), '1 × nvidia.com/gpu');
  });
});
