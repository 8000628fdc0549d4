/**
 * Sidecars: further containers of a sandbox. The clients create them through either service and do the rest through the command router. Facts:
 * docs/protocol/command-router.md, section 8.
 */
import { create, isFieldSet } from '@bufbuild/protobuf';
import type { HandlerContext, ServiceImpl } from '@connectrpc/connect';
import { SkerryError } from '../../../errors/skerry-error.ts';
import type { TaskId } from '../../../ids.ts';
import { clip } from '../../../platform/text.ts';
import type { Sandbox, Sandboxes, Sidecar, Sidecars } from '../../../sandboxes/sandboxes.ts';
import type { SidecarSpec } from '../../../sandboxes/spec.ts';
import { toGenericResult } from '../control-plane/results.ts';
import { type SandboxRequest, toSandboxSpec } from '../control-plane/sandbox-spec.ts';
import { type Sandbox as Definition, SandboxSchema } from '../gen/modal/sandboxes_pb.ts';
import type { ModalClient } from '../gen/modal/service_pb.ts';
import type { TaskCommandRouter } from '../gen/modal/task_command_router_pb.ts';
import { callOf } from '../rpc/call.ts';
import { invalid, objectName, parseSandboxId, unsupported } from '../rpc/fields.ts';
import { waitMs } from '../rpc/wire-time.ts';
import { MAIN_CONTAINER, type RouterDeps, routerTargets } from './router-sandbox.ts';

export interface SidecarHandlerDeps {
  readonly sandboxes: Pick<Sandboxes, 'get'>;
  readonly sidecars: Sidecars;
}

const NO_BUCKETS = 'cloud_bucket_mounts in sidecars: mount the bucket in the sandbox itself.';
/** Longest a single long poll is held, seconds; clients ask again. */
const MAX_POLL_S = 60;

/** Creation through the control plane, with an idempotency key. */
export function sidecarHandlers(deps: SidecarHandlerDeps): Partial<ServiceImpl<typeof ModalClient>> {
  return {
    async sandboxContainerCreateV2(request, context) {
      if (Object.keys(request.cloudBucketMountCredentials).length > 0) {
        throw unsupported(NO_BUCKETS);
      }
      const sandbox = deps.sandboxes.get(parseSandboxId(request.sandboxId));
      const spec = toSidecarSpec(sandbox, request.containerName, {
        definition: request.definition,
        tags: [],
        secretSources: request.secretSources,
        ephemeralSecrets: request.ephemeralSecrets?.contents ?? {},
      });
      // Kept with the sidecar itself: a server that dies before it stored the answer must not make a second one.
      const key = context.requestHeader.get('x-idempotency-key');
      const requestKey = key ? `${callOf(context).principal}/${sandbox.id}/${key}` : undefined;
      return named(await deps.sidecars.create(sandbox, spec, requestKey, context.signal));
    },
  };
}

/** Everything else, and creation by older clients: they send no key, so a repeat meets its own name. */
export function sidecarRouterHandlers(deps: RouterDeps): Partial<ServiceImpl<typeof TaskCommandRouter>> {
  const { sidecars } = deps;
  const targets = routerTargets(deps);
  const sidecarOf = (request: { taskId: string; containerId: string }, context: HandlerContext): Sidecar =>
    sidecars.get(targets.sandbox(request.taskId, context), request.containerId as TaskId); // any string may be looked up

  return {
    async taskContainerCreate(request, context) {
      const sandbox = targets.sandbox(request.taskId, context);
      const { args, imageId, secretIds, workdir, volumeMounts, networkAccess, ptyInfo } = request;
      const definition = create(SandboxSchema, {
        entrypointArgs: args,
        ...{ imageId, secretIds, workdir, volumeMounts },
        ...(networkAccess && { networkAccess }),
        ...(ptyInfo && { ptyInfo }),
        ...(request.memoryReserveConsumeMib && { resources: { memoryMb: request.memoryReserveConsumeMib } }),
      });
      const spec = toSidecarSpec(sandbox, request.containerName, {
        definition,
        tags: [],
        secretSources: request.secretSources,
        ephemeralSecrets: request.env,
      });
      return named(await sidecars.create(sandbox, spec, undefined, context.signal));
    },

    taskContainerGet(request, context) {
      const sandbox = targets.sandbox(request.taskId, context);
      const sidecar = sidecars.find(sandbox, request.containerName, request.includeTerminated);
      if (!sidecar) {
        throw new SkerryError(
          'not-found',
          `${request.includeTerminated ? 'Sidecar' : 'Running sidecar'} with name '${clip(request.containerName)}' not found in ${sandbox.id}.`,
        );
      }
      return { container: toInfo(sidecar) };
    },

    taskContainerList(request, context) {
      const sandbox = targets.sandbox(request.taskId, context);
      return { containers: sidecars.list(sandbox, request.includeTerminated).map(toInfo) };
    },

    async taskContainerWait(request, context) {
      const sidecar = sidecarOf(request, context);
      const result =
        sidecar.result ?? (await sidecar.wait(waitMs(request.timeout, MAX_POLL_S), context.signal));
      return result ? { result: toGenericResult(result) } : {};
    },

    async taskContainerTerminate(request, context) {
      await sidecarOf(request, context).terminate();
      return {};
    },
  };
}

const named = (sidecar: Sidecar) => ({
  containerId: sidecar.taskId,
  containerName: sidecar.name ?? '',
});

const toInfo = (sidecar: Sidecar) => ({
  ...named(sidecar),
  status: sidecar.result ? 'terminated' : 'running',
  ...(sidecar.result && { result: toGenericResult(sidecar.result) }),
});

/** The fields that a sidecar's definition may set, by their names on the wire. Some are refused with a reason of their own. */
const sidecarFields: ReadonlySet<string> = new Set([
  'entrypoint_args',
  'image_id',
  'secret_ids',
  'workdir',
  'volume_mounts',
  'cloud_bucket_mounts',
  'network_access',
  'include_oidc_identity_token',
  'proxy_id',
  'pty_info',
  'resources',
]);

/** @throws SkerryError `invalid-argument`, `unimplemented`, naming the field */
function toSidecarSpec(sandbox: Sandbox, containerName: string, request: SandboxRequest): SidecarSpec {
  const name = objectName(containerName, 'container_name');
  if (name === MAIN_CONTAINER) throw invalid("container_name 'main' is the sandbox's own container.");
  if (request.definition) refuseOthersFields(request.definition);
  const { appId: id, environmentId } = sandbox.spec;
  const spec = toSandboxSpec(request, { id, environmentId });
  if (spec.network.kind === 'blocked') {
    throw invalid('network_access: a sidecar without a network could not reach its sandbox.');
  }
  if (spec.network.kind === 'allowlist') {
    throw unsupported(
      'an allow-list of its own for a sidecar: it shares the network and the policy of its sandbox.',
    );
  }
  if (spec.buckets) throw unsupported(NO_BUCKETS);
  const { imageId, args, secretSources, workdir, resources, pty, volumes } = spec;
  return { name, imageId, args, secretSources, workdir, resources, pty, volumes };
}

function refuseOthersFields(definition: Definition): void {
  for (const field of SandboxSchema.fields) {
    if (isFieldSet(definition, field) && !sidecarFields.has(field.name)) {
      throw unsupported(`${field.name} for a sidecar.`);
    }
  }
}
