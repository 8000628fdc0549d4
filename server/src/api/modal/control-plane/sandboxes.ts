/**
 * Sandbox RPCs of the control plane. The clients have two names for most (V1 and V2); one implementation serves both. Which RPCs a sandbox was created
 * by shows in the shape of its id only, by which clients choose theirs. Facts: docs/protocol/control-plane.md, section 7.
 */
import type { MessageInitShape } from '@bufbuild/protobuf';
import type { HandlerContext, ServiceImpl } from '@connectrpc/connect';
import type { Apps } from '../../../apps/apps.ts';
import type { AccessTokens } from '../../../auth/access-tokens.ts';
import { SkerryError } from '../../../errors/skerry-error.ts';
import type { AppId, SandboxIdShape, TaskId } from '../../../ids.ts';
import { clip } from '../../../platform/text.ts';
import type { Sandbox, Sandboxes } from '../../../sandboxes/sandboxes.ts';
import type { HttpAccess } from '../../../tunnels/http-access.ts';
import type { Tunnel, Tunnels } from '../../../tunnels/tunnels.ts';
import { GenericResult_GenericStatus as Status } from '../gen/modal/common_pb.ts';
import type {
  SandboxCreateConnectTokenRequest,
  SandboxGetFromNameRequest,
  SandboxGetTaskIdRequest,
  SandboxGetTunnelsRequest,
  SandboxListRequest,
  SandboxTagsSetRequest,
  SandboxTerminateRequest,
  SandboxWaitRequest,
} from '../gen/modal/sandboxes_pb.ts';
import {
  SandboxGetExitSnapshotResponse_ErrorCode as ExitSnapshotError,
  type SandboxGetExitSnapshotRequest,
  type SandboxGetExitSnapshotResponseSchema,
} from '../gen/modal/sandboxes_pb.ts';
import type { ModalClient } from '../gen/modal/service_pb.ts';
import { callOf, makerOf } from '../rpc/call.ts';
import { invalid, objectName, parseSandboxId, tags } from '../rpc/fields.ts';
import { fromSeconds, SNAPSHOT_DEADLINE_MS, toSeconds, waitMs } from '../rpc/wire-time.ts';
import { toMetadata } from './images.ts';
import { toGenericResult } from './results.ts';
import { refuseUselessRouter, routerAccess } from './router-access.ts';
import { type SandboxRequest, toSandboxSpec } from './sandbox-spec.ts';

export interface SandboxHandlerDeps {
  readonly sandboxes: Sandboxes;
  readonly apps: Pick<Apps, 'get' | 'find' | 'environment'>;
  readonly accessTokens: AccessTokens;
  readonly tunnels: Tunnels;
  readonly httpAccess: HttpAccess;
}

/** Longest a single long poll is held, seconds; clients ask again. */
const MAX_POLL_S = 60;
const MAX_READY_WAIT_S = 3600;
/** "Uses port 8080 if unspecified", say the clients of theirs. */
const DEFAULT_CONNECT_PORT = 8080;
const MAX_TUNNELS_WAIT_S = 3600;
/** Clients ask for page after page until one is empty. */
const LIST_PAGE = 100;
/** With those that ended there may be thousands, whom nobody looks at one by one. The headers have some words about each, and proxies let a few kilobytes through. */
const LONG_LIST_PAGE = 250;
/**
 * On the answer to a create: `gvisor`, `runc`, or `runc-shared-users`. On a list one for each sandbox, in its order, `-` for one that has ended. Not of the clients' protocol;
 * they pass over it.
 */
const ISOLATION_HEADER = 'x-skerry-isolation';
/** On a list, likewise: `suspended`, `running` and so on (`SandboxState`). To the clients one that is suspended runs. */
const STATE_HEADER = 'x-skerry-state';

export function sandboxHandlers(deps: SandboxHandlerDeps): Partial<ServiceImpl<typeof ModalClient>> {
  const { sandboxes, apps, accessTokens, tunnels, httpAccess } = deps;

  const byId = (id: string): Sandbox => sandboxes.get(parseSandboxId(id));
  const byTask = (id: string): Sandbox => sandboxes.getByTask(id as TaskId); // any string may be looked up
  const access = (sandbox: Sandbox, context: HandlerContext) =>
    routerAccess(sandbox, callOf(context), accessTokens);

  async function start(
    appId: string,
    request: SandboxRequest,
    idShape: SandboxIdShape,
    context: HandlerContext,
  ): Promise<Sandbox> {
    const app = apps.get(appId as AppId); // likewise
    if (app.state === 'stopped') {
      throw new SkerryError('conflict', `App ${app.id} is stopped; look it up again to get a running one.`);
    }
    const maker = makerOf(context);
    const sandbox = await sandboxes.create(toSandboxSpec(request, app), {
      idShape,
      ...maker,
      anywhere: true,
    });
    // The answers have no field for it, and a program may want to know before it runs code that nobody trusts.
    if (sandbox.isolation) context.responseHeader.set(ISOLATION_HEADER, sandbox.isolation);
    return sandbox;
  }

  const getTaskId = ({ sandboxId }: SandboxGetTaskIdRequest) => {
    const { taskId, result } = byId(sandboxId);
    // Set only when it ended: JavaScript and Go take a present message for an ended sandbox.
    return { taskId, ...(result && { taskResult: toGenericResult(result) }) };
  };

  const wait = async ({ sandboxId, timeout }: SandboxWaitRequest, { signal }: HandlerContext) => {
    const sandbox = byId(sandboxId);
    const ended = sandbox.result ?? (await sandbox.wait(waitMs(timeout, MAX_POLL_S), signal));
    const result = ended && { result: toGenericResult(ended) };
    return { ...result, metadata: { appId: sandbox.spec.appId, ...result } };
  };

  const terminate = async ({ sandboxId }: SandboxTerminateRequest) => {
    const sandbox = byId(sandboxId);
    const { result } = sandbox;
    await sandbox.terminate();
    return result ? { existingResult: toGenericResult(result) } : {};
  };

  const getFromName = (request: SandboxGetFromNameRequest) => {
    const app = apps.find(request.environmentName, request.appName);
    const sandbox = app && sandboxes.findByName(app.id, request.sandboxName, request.includeTerminated);
    if (!sandbox) {
      throw new SkerryError(
        'not-found',
        `${request.includeTerminated ? 'Sandbox' : 'Running sandbox'} with name '${clip(request.sandboxName)}' not found in app '${clip(request.appName)}'.`,
      );
    }
    return { sandboxId: sandbox.id, metadata: handleMetadata(sandbox) };
  };

  const list = (request: SandboxListRequest, { responseHeader }: HandlerContext) => {
    const beforeMs = fromSeconds(request.beforeTimestamp);
    const scope = request.appId
      ? { appId: apps.get(request.appId as AppId).id } // looked up, so any string will do
      : { environmentId: apps.environment(request.environmentName).id };
    const page = sandboxes.list({
      ...scope,
      tags: tags(request.tags),
      includeEnded: request.includeFinished,
      ...(beforeMs !== undefined && { beforeMs }),
      limit: request.includeFinished ? LONG_LIST_PAGE : LIST_PAGE,
    });
    responseHeader.set(ISOLATION_HEADER, page.map(({ isolation }) => isolation ?? '-').join(','));
    responseHeader.set(STATE_HEADER, page.map(({ state }) => state).join(','));
    return { sandboxes: page.map(toSandboxInfo) };
  };

  const tagsGet = ({ sandboxId }: { readonly sandboxId: string }) => ({ tags: toTags(byId(sandboxId)) });
  const tagsSet = (request: SandboxTagsSetRequest) => {
    byId(request.sandboxId).setTags(tags(request.tags));
    return {};
  };

  const getTunnels = async ({ sandboxId, timeout }: SandboxGetTunnelsRequest, { signal }: HandlerContext) => {
    const found = await tunnels.of(byId(sandboxId), waitMs(timeout, MAX_TUNNELS_WAIT_S), signal);
    if (!found) return { result: { status: Status.TIMEOUT } };
    return { result: { status: Status.SUCCESS }, tunnels: found.map(toTunnelData) };
  };

  const createConnectToken = ({ sandboxId, port, userMetadata }: SandboxCreateConnectTokenRequest) =>
    httpAccess.credentials(byId(sandboxId), {
      port: port ?? DEFAULT_CONNECT_PORT,
      // Clients send no metadata as an empty text.
      userMetadata: userMetadata || undefined,
    });

  const getExitSnapshot = async (
    { sandboxId, timeout }: SandboxGetExitSnapshotRequest,
    { signal }: HandlerContext,
  ): Promise<MessageInitShape<typeof SandboxGetExitSnapshotResponseSchema>> => {
    const sandbox = byId(sandboxId);
    if (!sandbox.spec.exitSnapshot) {
      throw invalid(
        'The sandbox has no exit snapshot: create it with the experimental option enable_exit_snapshot.',
      );
    }
    if (sandbox.state !== 'ended') await sandbox.wait(waitMs(timeout, MAX_POLL_S), signal);
    const { exitSnapshot: taken } = sandbox;
    if (!taken) return { outcome: { case: 'pending', value: {} } };
    if (taken.kind === 'image') return { outcome: { case: 'success', value: { imageId: taken.imageId } } };
    // Of the codes this one alone has every client, older ones too, say that there will be no snapshot.
    const errorCode = ExitSnapshotError.TIMEOUT;
    return { outcome: { case: 'error', value: { errorCode, message: taken.message } } };
  };

  return {
    async sandboxCreateV2(request, context) {
      const sandbox = await start(
        request.appId,
        {
          definition: request.definition,
          tags: request.tags,
          secretSources: request.secretSources,
          ephemeralSecrets: request.ephemeralSecrets?.contents ?? {},
          bucketCredentials: request.cloudBucketMountCredentials,
        },
        'v2',
        context,
      );
      return {
        sandboxId: sandbox.id,
        taskId: sandbox.taskId,
        metadata: { appId: sandbox.spec.appId },
        commandRouterAccess: await access(sandbox, context),
      };
    },
    async sandboxCreate({ appId, definition, tags: tagList }, context) {
      // Clients up to 1.5 open files only in a sandbox whose id says that these are the RPCs for it.
      const request = { definition, tags: tagList, secretSources: [], ephemeralSecrets: {} };
      const sandbox = await start(appId, request, 'v1', context);
      return { sandboxId: sandbox.id, metadata: { appId: sandbox.spec.appId } };
    },
    sandboxGetTaskId: getTaskId,
    sandboxGetTaskIdV2: getTaskId,
    sandboxWait: wait,
    sandboxWaitV2: wait,
    sandboxTerminate: terminate,
    sandboxTerminateV2: terminate,
    sandboxGetFromName: getFromName,
    sandboxGetFromNameV2: getFromName,
    sandboxSetName({ sandboxId, name }) {
      byId(sandboxId).setName(objectName(name, 'name'));
      return {};
    },
    sandboxList: list,
    sandboxListV2: list,
    sandboxTagsGet: tagsGet,
    sandboxTagsGetV2: tagsGet,
    sandboxTagsSet: tagsSet,
    sandboxTagsSetV2: tagsSet,
    sandboxGetTunnels: getTunnels,
    sandboxGetTunnelsV2: getTunnels,
    sandboxCreateConnectToken: createConnectToken,
    sandboxCreateConnectTokenV2: createConnectToken,
    async sandboxGetCommandRouterAccess({ target }, context) {
      refuseUselessRouter(callOf(context));
      switch (target.case) {
        case 'sandboxId':
          return access(byId(target.value), context);
        case 'taskId':
          return access(byTask(target.value), context);
        default:
          throw invalid('Neither sandbox_id nor task_id is given.');
      }
    },
    async taskGetCommandRouterAccess({ taskId }, context) {
      refuseUselessRouter(callOf(context));
      return access(byTask(taskId), context);
    },
    async sandboxSnapshotFs({ sandboxId }) {
      // The work goes on when the caller stops waiting: a repeat with the same key joins it or finds its image.
      const image = await byId(sandboxId).snapshotFilesystem({}, AbortSignal.timeout(SNAPSHOT_DEADLINE_MS));
      return { imageId: image.id, result: { status: Status.SUCCESS }, imageMetadata: toMetadata(image) };
    },
    sandboxGetExitSnapshot: getExitSnapshot,
    sandboxGetExitSnapshotV2: getExitSnapshot,
    async sandboxWaitUntilReady({ sandboxId, timeout }, { signal }) {
      const readyAtMs = await byId(sandboxId).waitUntilReady(waitMs(timeout, MAX_READY_WAIT_S), signal);
      return { readyAt: toSeconds(readyAtMs) };
    },
  };
}

const handleMetadata = (sandbox: Sandbox) => ({
  appId: sandbox.spec.appId,
  ...(sandbox.result && { result: toGenericResult(sandbox.result) }),
});

const toTunnelData = ({ containerPort, encrypted, plain }: Tunnel) => ({
  ...encrypted,
  containerPort,
  ...(plain && { unencryptedHost: plain.host, unencryptedPort: plain.port }),
});

const toTags = (sandbox: Sandbox) =>
  Object.entries(sandbox.tags).map(([tagName, tagValue]) => ({ tagName, tagValue }));

function toSandboxInfo(sandbox: Sandbox) {
  const { spec, result, readyAtMs } = sandbox;
  return {
    id: sandbox.id,
    createdAt: toSeconds(sandbox.createdAtMs),
    taskInfo: {
      id: sandbox.taskId,
      sandboxId: sandbox.id,
      enqueuedAt: toSeconds(sandbox.createdAtMs),
      startedAt: toSeconds(sandbox.startedAtMs),
      finishedAt: toSeconds(sandbox.endedAtMs),
      ...(result && { result: toGenericResult(result) }),
    },
    appId: spec.appId,
    tags: toTags(sandbox),
    name: sandbox.name ?? '',
    imageId: spec.imageId,
    timeoutSecs: Math.ceil(spec.timeoutMs / 1000),
    ...(spec.idleTimeoutMs !== undefined && { idleTimeoutSecs: Math.ceil(spec.idleTimeoutMs / 1000) }),
    ...(readyAtMs !== undefined && { readyAt: toSeconds(readyAtMs) }),
    metadata: handleMetadata(sandbox),
  };
}
