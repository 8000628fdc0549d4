/** Apps. Facts: docs/protocol/control-plane.md, section 5. */
import type { ServiceImpl } from '@connectrpc/connect';
import type { App, Apps, AppState as DomainAppState } from '../../../apps/apps.ts';
import { SkerryError } from '../../../errors/skerry-error.ts';
import type { AppId } from '../../../ids.ts';
import type { AppReaper } from '../../../sandboxes/app-reaper.ts';
import type { Sandboxes } from '../../../sandboxes/sandboxes.ts';
import { AppState } from '../gen/modal/apps_pb.ts';
import type { ModalClient } from '../gen/modal/service_pb.ts';
import { ObjectCreationType } from '../gen/modal/workspace_pb.ts';
import { toSeconds } from '../rpc/wire-time.ts';

export interface AppHandlerDeps {
  readonly apps: Apps;
  readonly reaper: Pick<AppReaper, 'stop' | 'leave'>;
  readonly sandboxes: Pick<Sandboxes, 'list'>;
  /** Unix milliseconds. */
  readonly now: () => number;
}

/** More than any server runs at once. */
const ALL_SANDBOXES = 100_000;

export function appHandlers(deps: AppHandlerDeps): Partial<ServiceImpl<typeof ModalClient>> {
  const { apps, reaper, sandboxes, now } = deps;
  return {
    appGetOrCreate({ appName, environmentName, objectCreationType }) {
      const app = apps.lookup(environmentName, appName, mayCreate(objectCreationType));
      return { appId: app.id, handleMetadata: toHandleMetadata(app) };
    },
    appGetInfo: ({ appId }) => ({ info: toHandleMetadata(apps.get(asAppId(appId))) }),
    appCreate(request) {
      const state = stateOfNewApp(request.appState);
      const app = apps.createEphemeral(request.environmentName, request.description, state, request.tags);
      // No page of ours shows an app yet; an empty URL is not printed.
      return { appId: app.id, appPageUrl: '', appLogsUrl: '' };
    },
    appHeartbeat({ appId }) {
      apps.heartbeat(asAppId(appId));
      return {};
    },
    appPublish(request) {
      const id = asAppId(request.appId);
      const functions = { ...request.functionIds, ...request.classIds };
      if (Object.keys(functions).length > 0) {
        throw new SkerryError(
          'unimplemented',
          'Functions and classes are not supported: Skerry runs sandboxes. Create a Sandbox instead.',
        );
      }
      const deployed = request.appState === AppState.DEPLOYED;
      const state = deployed ? 'deployed' : stateOfNewApp(request.appState);
      if (Object.keys(request.tags).length > 0) apps.setTags(id, request.tags);
      apps.setState(id, state, deployed && request.name !== '' ? request.name : undefined);
      return { url: '', deployedAt: toSeconds(now()) };
    },
    async appClientDisconnect({ appId }) {
      await reaper.leave(asAppId(appId));
      return {};
    },
    appList({ environmentName }) {
      const running = new Map<AppId, number>();
      for (const { spec } of sandboxes.list({ limit: ALL_SANDBOXES })) {
        running.set(spec.appId, (running.get(spec.appId) ?? 0) + 1);
      }
      return {
        apps: apps.list(environmentName).map((app) => ({
          appId: app.id,
          description: app.description,
          state: toWireState(app.state),
          createdAt: toSeconds(app.createdAtMs),
          stoppedAt: toSeconds(app.stoppedAtMs),
          nRunningTasks: running.get(app.id) ?? 0,
          name: app.name ?? '',
          metadata: toHandleMetadata(app),
        })),
      };
    },
    appGetByDeploymentName({ name, environmentName }) {
      const environment = apps.environment(environmentName);
      const app = apps.find(environmentName, name);
      // Empty ids, not an error, are what the command line takes for "not found".
      return {
        appId: app?.id ?? '',
        environmentName: environment.name,
        ...(app && { lifecycle: toLifecycle(app) }),
      };
    },
    // Asked of an app that is deployed again: what of it may be kept.
    appGetLayout({ appId }) {
      apps.get(asAppId(appId));
      return { appLayout: {} };
    },
    appGetLifecycle: ({ appId }) => ({ lifecycle: toLifecycle(apps.get(asAppId(appId))) }),
    async appStop({ appId }) {
      await reaper.stop(asAppId(appId));
      return {};
    },
    appSetTags({ appId, tags }) {
      apps.setTags(asAppId(appId), tags);
      return {};
    },
    appGetTags: ({ appId }) => ({ tags: { ...apps.get(asAppId(appId)).tags } }),
  };
}

/** A lookup finds nothing under text that is no id, so any text may pass as one. */
const asAppId = (text: string): AppId => text as AppId;

function mayCreate(type: ObjectCreationType): boolean {
  switch (type) {
    case ObjectCreationType.UNSPECIFIED:
      return false;
    case ObjectCreationType.CREATE_IF_MISSING:
      return true;
    default:
      throw new SkerryError('invalid-argument', `Apps cannot be created with object_creation_type ${type}.`);
  }
}

function stateOfNewApp(state: AppState): DomainAppState {
  switch (state) {
    case AppState.UNSPECIFIED:
    case AppState.EPHEMERAL:
      return 'ephemeral';
    case AppState.DETACHED:
      return 'detached';
    case AppState.INITIALIZING:
      return 'initializing';
    default:
      throw new SkerryError('invalid-argument', `An app cannot be put into app_state ${state}.`);
  }
}

function toWireState(state: DomainAppState): AppState {
  switch (state) {
    case 'initializing':
      return AppState.INITIALIZING;
    case 'ephemeral':
      return AppState.EPHEMERAL;
    case 'detached':
      return AppState.DETACHED;
    case 'deployed':
      return AppState.DEPLOYED;
    case 'stopped':
      return AppState.STOPPED;
    default:
      return state satisfies never;
  }
}

const toLifecycle = (app: App) => ({
  appState: toWireState(app.state),
  createdAt: toSeconds(app.createdAtMs),
  deployedAt: app.state === 'deployed' ? toSeconds(app.createdAtMs) : 0,
  version: app.state === 'deployed' ? 1 : 0,
  stoppedAt: toSeconds(app.stoppedAtMs),
});

const toHandleMetadata = (app: App) => ({
  appId: app.id,
  description: app.description,
  environmentName: app.environmentName,
  lifecycle: toLifecycle(app),
});
