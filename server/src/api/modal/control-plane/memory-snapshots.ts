/**
 * RPCs about snapshots of sandboxes' memory, but the one by which a V2 sandbox has one taken: that is the command router's. Facts: docs/protocol/control-plane.md,
 * section 7.
 */
import type { HandlerContext, ServiceImpl } from '@connectrpc/connect';
import type { Apps } from '../../../apps/apps.ts';
import type { AccessTokens } from '../../../auth/access-tokens.ts';
import { SkerryError } from '../../../errors/skerry-error.ts';
import { type MemorySnapshotId, sandboxIdShape } from '../../../ids.ts';
import type { Sandbox, Sandboxes } from '../../../sandboxes/sandboxes.ts';
import { GenericResult_GenericStatus as Status } from '../gen/modal/common_pb.ts';
import {
  SandboxRestoreRequest_SandboxNameOverrideType as NameOverride,
  type SandboxRestoreRequest,
} from '../gen/modal/sandboxes_pb.ts';
import type { ModalClient } from '../gen/modal/service_pb.ts';
import { callOf, makerOf } from '../rpc/call.ts';
import { invalid, objectName, parseSandboxId } from '../rpc/fields.ts';
import { SNAPSHOT_DEADLINE_MS } from '../rpc/wire-time.ts';
import { routerAccess } from './router-access.ts';

export interface MemorySnapshotHandlerDeps {
  readonly sandboxes: Pick<Sandboxes, 'get' | 'memorySnapshot' | 'restore'>;
  readonly apps: Pick<Apps, 'get'>;
  readonly accessTokens: AccessTokens;
}

type RestoreRequest = Pick<
  SandboxRestoreRequest,
  'snapshotId' | 'sandboxNameOverride' | 'sandboxNameOverrideType'
>;

export function memorySnapshotHandlers({
  sandboxes,
  apps,
  accessTokens,
}: MemorySnapshotHandlerDeps): Partial<ServiceImpl<typeof ModalClient>> {
  const snapshot = (id: string) => sandboxes.memorySnapshot(id as MemorySnapshotId); // any string may be looked up

  async function restore(request: RestoreRequest, context: HandlerContext): Promise<Sandbox> {
    const { id, spec } = snapshot(request.snapshotId);
    if (apps.get(spec.appId).state === 'stopped') {
      throw new SkerryError('conflict', `App ${spec.appId} is stopped, and the sandbox would be in it.`);
    }
    return sandboxes.restore(id, { ...makerOf(context), ...nameOverride(request) });
  }

  return {
    async sandboxSnapshot({ sandboxId }) {
      // The work goes on when the caller stops waiting: a repeat with the same key joins it or finds its snapshot.
      const sandbox = sandboxes.get(parseSandboxId(sandboxId));
      return { snapshotId: await sandbox.snapshotMemory(AbortSignal.timeout(SNAPSHOT_DEADLINE_MS)) };
    },
    sandboxSnapshotWait({ snapshotId }) {
      snapshot(snapshotId); // one that can be found is whole
      return { result: { status: Status.SUCCESS } };
    },
    sandboxSnapshotGet({ snapshotId }) {
      const { id, sandboxId } = snapshot(snapshotId);
      // As those are that go on from it.
      return { snapshotId: id, handleMetadata: { isV2: sandboxIdShape(sandboxId) === 'v2' } };
    },
    async sandboxRestore(request, context) {
      return { sandboxId: (await restore(request, context)).id };
    },
    async sandboxRestoreV2(request, context) {
      const sandbox = await restore(request, context);
      return {
        sandboxId: sandbox.id,
        taskId: sandbox.taskId,
        metadata: { appId: sandbox.spec.appId },
        commandRouterAccess: await routerAccess(sandbox, callOf(context), accessTokens),
      };
    },
  };
}

function nameOverride({ sandboxNameOverride: name, sandboxNameOverrideType: type }: RestoreRequest): {
  name?: string | undefined;
} {
  switch (type) {
    case NameOverride.UNSPECIFIED:
      return {};
    case NameOverride.NONE:
      return { name: undefined };
    case NameOverride.STRING:
      return { name: objectName(name, 'sandbox_name_override') };
    default:
      throw invalid('sandbox_name_override_type is unknown.');
  }
}
