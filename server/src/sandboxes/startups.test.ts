import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Startups } from './startups.ts';

describe('what starts took', () => {
  it('is told for each kind as medians, of the last ones', () => {
    const startups = new Startups();
    for (let each = 0; each < 300; each++)
      startups.add({ runtime: 'runc', waited: false, ms: 50, phases: { old: 1 } });
    for (let each = 1; each <= 255; each++)
      startups.add({ runtime: 'runc', waited: true, ms: each, phases: { bind: each / 10, plan: 1 } });
    startups.add({ runtime: 'gvisor', waited: true, ms: 9, phases: {} });
    assert.deepEqual(startups.summary(), [
      { runtime: 'runc', waited: true, count: 255, ms: 128, phases: { bind: 12.8, plan: 1 } },
      { runtime: 'gvisor', waited: true, count: 1, ms: 9, phases: {} },
    ]);
  });
});
