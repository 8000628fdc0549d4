import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { V1ContainerState, V1Pod, V1PodStatus } from '@kubernetes/client-node';
import { isLost, isSilent, standingOf } from './pod-status.ts';

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

  for (const [why, reason, ready, message] of [
    ['its node is lost', 'DeletionByTaintManager', 'False', 'Its node does not answer any more.'],
    ['its node is closed to it', 'DeletionByTaintManager', 'True', 'Its node is closed to it.'],
    [
      'its node is drained',
      'EvictionByEvictionAPI',
      'True',
      'Its Pod was evicted: EvictionByEvictionAPI: x.',
    ],
  ] as const) {
    it(`says that ${why}`, () => {
      const conditions = [
        { type: 'Ready', status: ready },
        { type: 'DisruptionTarget', status: 'True', reason, message: 'x' },
      ];
      const containerStatuses = [container('link', { running: {} }), container('sandbox', { running: {} })];
      const status = { phase: 'Running', conditions, containerStatuses };
      const pod = { metadata: { deletionTimestamp: new Date() }, status };
      assert.deepEqual(standingOf(pod), { kind: 'over', exit: { reason: 'crashed', message } });
      assert.equal(isLost(pod), why === 'its node is lost');
    });
  }

  it('is silent when it is unready, though nothing of it ended, and lost unless its node may be ending it', () => {
    const conditions = [{ type: 'Ready', status: 'False' }];
    const running = [container('link', { running: {} }), container('sandbox', { running: {} })];
    const silent = { status: { phase: 'Running', conditions, containerStatuses: running } };
    assert.deepEqual([isSilent(silent), isLost(silent)], [true, true]);
    assert.equal(isLost({ ...silent, metadata: { deletionTimestamp: new Date() } }), false);
    const ended = [container('sandbox', { terminated: { exitCode: 1 } })];
    for (const status of [
      { ...silent.status, containerStatuses: ended },
      { ...silent.status, phase: 'Pending' },
      { ...silent.status, conditions: [{ type: 'Ready', status: 'True' }] },
    ])
      assert.equal(isSilent({ status }), false);
  });
});
