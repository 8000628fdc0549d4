/** `Sandbox.reload_volumes` of Python clients up to 1.3, which goes through the control plane. Written from `modal/sandbox.py` of 1.3.5. */
import type { ServiceImpl } from '@connectrpc/connect';
import type { TaskId } from '../../../ids.ts';
import type { Sandboxes } from '../../../sandboxes/sandboxes.ts';
import type { ModalClient } from '../gen/modal/service_pb.ts';

export const containerVolumeHandlers = ({
  sandboxes,
}: {
  readonly sandboxes: Pick<Sandboxes, 'getByTask'>;
}): Partial<ServiceImpl<typeof ModalClient>> => ({
  async containerReloadVolumes({ taskId }, context) {
    // Looking up what is no id finds nothing.
    await sandboxes.getByTask(taskId as TaskId).reloadVolumes(context.signal);
    return {};
  },
});
