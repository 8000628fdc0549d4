import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Capabilities, Expected, Tenure } from './engine.ts';
import { lateParts } from './late-binding.ts';

const limits = { memoryMiB: 64, milliCpu: 1000, milliCpuRequest: 500, pids: 100 };
const expected: Expected = { hostname: 'box', limits, network: { kind: 'open' } };
const able: Capabilities = {
  bindsLate: new Set(['network']),
  ...{
    joins: true,
    commit: true,
    networkPolicy: true,
    tenureMounts: true,
    copiedVolumes: false,
    mounts: true,
    commitDirectory: true,
  },
  ...{ devices: true, disk: true, buckets: true, checkpoints: true },
};
const late = (other: Partial<Tenure>) =>
  [...lateParts(expected, { ...expected, mounts: [], ...other }, able, 'gvisor')].join();

describe('what a waiting instance was not made for', () => {
  it('is what is other than expected', () => {
    assert.equal(late({}), '');
    assert.equal(late({ network: { kind: 'blocked' } }), 'network');
    assert.equal(late({ network: { kind: 'open', audited: true } }), 'network');
  });

  it('is refused where it cannot be changed any more', () => {
    const refused = { code: 'unimplemented' };
    assert.throws(() => late({ hostname: 'other' }), refused);
    assert.throws(() => late({ limits: { ...limits, pids: 99 } }), refused);
    assert.throws(() => late({ network: { kind: 'open', headers: 'sealed' } }), refused);
  });
});
