/** Tasks, which the clients also call containers: lists and stops for the command line. Facts: docs/protocol/control-plane.md, section 6. */
import type { ServiceImpl } from '@connectrpc/connect';
import type { Apps } from '../../../apps/apps.ts';
import type { AppId, TaskId } from '../../../ids.ts';
import type { Sandbox, Sandboxes } from '../../../sandboxes/sandboxes.ts';
import type { ModalClient } from '../gen/modal/service_pb.ts';
import { toSeconds } from '../rpc/wire-time.ts';
import { toGenericResult } from './results.ts';

export interface TaskHandlerDeps {
  readonly apps: Apps;
  readonly sandboxes: Pick<Sandboxes, 'getByTask' | 'list'>;
}

/** More than any server runs at once. */
const ALL_SANDBOXES = 100_000;

export function taskHandlers({ apps, sandboxes }: TaskHandlerDeps): Partial<ServiceImpl<typeof ModalClient>> {
  // Looking up what is no id finds nothing.
  const byTask = (taskId: string): Sandbox => sandboxes.getByTask(taskId as TaskId);

  return {
    taskList({ environmentName, appId }) {
      const environment = apps.environment(environmentName);
      const filter =
        appId === '' ? { environmentId: environment.id } : { appId: apps.get(appId as AppId).id };
      return {
        tasks: sandboxes.list({ ...filter, limit: ALL_SANDBOXES }).map((sandbox) => ({
          taskId: sandbox.taskId,
          appId: sandbox.spec.appId,
          appDescription: apps.get(sandbox.spec.appId).description,
          startedAt: toSeconds(sandbox.startedAtMs),
          enqueuedAt: toSeconds(sandbox.createdAtMs),
        })),
      };
    },
    taskGetInfo({ taskId }) {
      const sandbox = byTask(taskId);
      return {
        appId: sandbox.spec.appId,
        info: {
          id: sandbox.taskId,
          sandboxId: sandbox.id,
          enqueuedAt: toSeconds(sandbox.createdAtMs),
          startedAt: toSeconds(sandbox.startedAtMs),
          finishedAt: toSeconds(sandbox.endedAtMs),
          ...(sandbox.result && { result: toGenericResult(sandbox.result) }),
        },
      };
    },
    async containerStop({ taskId }) {
      await byTask(taskId).terminate();
      return {};
    },
    // Sandboxes have no function inputs, and form no clusters.
    taskCurrentInputs: () => ({ inputIds: [] }),
    clusterList: () => ({}),
  };
}
