import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { V1ContainerState, V1Pod, V1PodStatus } from '@kubernetes/client-node';
import { standingOf } from './pod-status.ts';

const container = (name: string, state: V1ContainerState) => ({
  ...{ name, state, image: 'x', imageID: 'x', ready: false, restartCount: 0 },
});
const standing = (status: V1PodStatus, metadata: V1Pod['metadata'] = {}) => standingOf({ metadata, status });
const sandbox = (state: V1ContainerState, more: V1PodStatus = {}) =>
  standing({ ...more, containerStatuses: [container('link', { running: {} }), container('sandbox', state)] });

describe('where a Pod stands', () => {
  it('is on its way, with an address as soon as it has one', () => {
    const begun = { kind: 'up', address: undefined, hindrance: undefined, lacksRoom: false };
    assert.deepEqual(standing({}), begun);
    assert.deepEqual(standing({ phase: 'Pending', podIP: '10.0.0.5' }), { ...begun, address: '10.0.0.5' });
    assert.equal(sandbox({ running: {} }, { phase: 'Running', podIP: '10.0.0.5' }).kind, 'up');
  });

  it('says what it waits for', () => {
    const conditions = [
      { type: 'PodScheduled', status: 'False', reason: 'Unschedulable', message: '0/2 nodes are available' },
    ];
    assert.deepEqual(standing({ phase: 'Pending', conditions }), {
      ...{ kind: 'up', address: undefined, lacksRoom: true },
      hindrance: 'Unschedulable: 0/2 nodes are available',
    });
    const pulling = sandbox({ waiting: { reason: 'ErrImagePull', message: 'no route' } });
    assert.deepEqual(pulling.kind === 'up' && pulling.hindrance, 'ErrImagePull: no route');
  });

  it('is over when the kernel ended it for memory', () => {
    assert.deepEqual(sandbox({ terminated: { exitCode: 137, reason: 'OOMKilled' } }), {
      ...{ kind: 'over', exit: { reason: 'out-of-memory' } },
    });
  });

  for (const [why, status, message] of [
    [
      'its first process ended',
      { containerStatuses: [container('sandbox', { terminated: { exitCode: 0, reason: 'Completed' } })] },
      'Its first process ended: Completed: exit code 0.',
    ],
    [
      'its link ended',
      { containerStatuses: [container('link', { terminated: { exitCode: 1, reason: 'Error' } })] },
      'The way to its agent is gone: Error: exit code 1.',
    ],
    [
      'it was evicted',
      { phase: 'Failed', reason: 'Evicted', message: 'The node was low on resource: memory. ' },
      'Its Pod is over: Evicted: The node was low on resource: memory. .',
    ],
    [
      'its image is not to be had',
      {
        containerStatuses: [container('sandbox', { waiting: { reason: 'ImagePullBackOff', message: 'x' } })],
      },
      'Its Pod cannot start: ImagePullBackOff: x.',
    ],
    [
      'the agent cannot be brought',
      { initContainerStatuses: [container('install', { waiting: { reason: 'RunContainerError' } })] },
      'Its Pod cannot start: RunContainerError.',
    ],
  ] as const) {
    it(`is over when ${why}`, () => {
      assert.deepEqual(standing(status as unknown as V1PodStatus), {
        ...{ kind: 'over', exit: { reason: 'crashed', message } },
      });
    });
  }

  it('is over once somebody deletes it', () => {
    assert.equal(standing({ phase: 'Running' }, { deletionTimestamp: new Date() }).kind, 'over');
  });
});
