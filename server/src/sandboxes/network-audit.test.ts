import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { NetworkEvent } from '../engines/engine.ts';
import { NetworkAudit } from './network-audit.ts';

const event = (timeMs: number): NetworkEvent => ({
  timeMs,
  by: 'tls',
  name: 'a.test',
  outcome: { kind: 'not-allowed' },
});

describe('the audit of a network', () => {
  it('keeps what there is to the end, and counts what is too much', async () => {
    const batches = [[event(1)], Array.from({ length: 10_001 }, (_, index) => event(index + 2))];
    const kept: NetworkEvent[] = [];
    const instance = { networkEvents: async () => batches.splice(0).flat() };
    const audit = new NetworkAudit(instance, (one) => kept.push(one), { error: () => assert.fail() });
    await audit.end();
    assert.equal(kept.length, 10_001);
    assert.deepEqual(kept.slice(0, 2), [event(1), event(2)]);
    assert.equal((kept.at(-1) as { lost: number }).lost, 2);
  });
});
