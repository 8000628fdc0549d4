import assert from 'node:assert/strict';
import { describe, it, type mock } from 'node:test';
import { isCrowded, Placement } from './placement.ts';
import type { PodUp } from './pod-status.ts';

const unplaced = (hindrance?: string): PodUp => ({
  ...{ kind: 'up', address: undefined, lacksRoom: true, hindrance },
});
const placed: PodUp = { kind: 'up', address: undefined, lacksRoom: false, hindrance: undefined };

describe('a Pod without a node', () => {
  const given: string[] = [];
  const placement = () => new Placement(1000, (hindrance) => given.push(hindrance));
  const wait = (t: { readonly mock: typeof mock }, look: (pod: Placement) => void): readonly string[] => {
    given.length = 0;
    t.mock.timers.enable({ apis: ['setTimeout'] });
    look(placement());
    return given;
  };

  it('is given up after so long, with the last reason and nothing of whom else it could have sent away', (t) => {
    const said = wait(t, (pod) => {
      pod.look(unplaced('Unschedulable: 0/1 nodes are available: 1 Insufficient cpu.'));
      t.mock.timers.tick(999);
      assert.deepEqual(given, []);
      const reason = '0/1 nodes are available: 1 Insufficient memory';
      pod.look(unplaced(`${reason}. no new claims to deallocate, preemption: 0/1 nodes are available: x`));
      t.mock.timers.tick(1);
    });
    assert.deepEqual(said, ['0/1 nodes are available: 1 Insufficient memory']);
  });

  it('that gets one is not, and is waited for anew when it is without one again', (t) => {
    const said = wait(t, (pod) => {
      pod.look(unplaced());
      pod.look(placed);
      t.mock.timers.tick(2000);
      assert.deepEqual(given, []);
      pod.look(unplaced());
      t.mock.timers.tick(1000);
    });
    assert.deepEqual(said, ['it does not say why']);
  });

  it('lacks what others have, or something that they do not', () => {
    for (const [reason, crowded] of [
      ['0/2 nodes are available: 1 Insufficient nvidia.com/gpu, 1 Insufficient memory.', true],
      ['0/1 nodes are available: 1 Too many pods.', true],
      ['0/1 nodes are available: 1 Insufficient nvidia.com/gpu.', false],
      ["0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector.", false],
    ] as const)
      assert.equal(isCrowded(unplaced(reason)), crowded, reason);
    assert.equal(isCrowded(placed), false);
  });
});
