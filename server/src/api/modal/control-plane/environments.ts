/** Environments. Facts: docs/protocol/control-plane.md, section 4. */
import type { HandlerContext, ServiceImpl } from '@connectrpc/connect';
import type { Apps, Environment } from '../../../apps/apps.ts';
import { builderVersionFor } from '../../../apps/builder-version.ts';
import { SkerryError } from '../../../errors/skerry-error.ts';
import type { AppReaper } from '../../../sandboxes/app-reaper.ts';
import { EnvironmentType } from '../gen/modal/environments_pb.ts';
import type { ModalClient } from '../gen/modal/service_pb.ts';
import { ObjectCreationType } from '../gen/modal/workspace_pb.ts';
import { toSeconds } from '../rpc/wire-time.ts';

export interface EnvironmentHandlerDeps {
  readonly apps: Apps;
  readonly reaper: Pick<AppReaper, 'stop'>;
}

/** `x-modal-client-type` of the Python client; the others take any builder version. */
const PYTHON_CLIENT = '1';

export function environmentHandlers(deps: EnvironmentHandlerDeps): Partial<ServiceImpl<typeof ModalClient>> {
  const { apps, reaper } = deps;
  return {
    environmentGetOrCreate({ deploymentName, objectCreationType }, context) {
      const create = objectCreationType === ObjectCreationType.CREATE_IF_MISSING;
      if (!create && objectCreationType !== ObjectCreationType.UNSPECIFIED) {
        throw new SkerryError(
          'invalid-argument',
          `Environments cannot be created with object_creation_type ${objectCreationType}.`,
        );
      }
      const environment = apps.environment(deploymentName, create);
      return {
        environmentId: environment.id,
        metadata: {
          name: environment.name,
          settings: {
            imageBuilderVersion: builderVersionForCaller(environment, context),
            webhookSuffix: environment.webSuffix,
          },
          environmentType: EnvironmentType.PUBLIC,
        },
      };
    },
    environmentList: () => ({ items: apps.environments().map(toListItem) }),
    environmentCreate({ name }) {
      apps.createEnvironment(name);
      return {};
    },
    async environmentDelete({ name }) {
      const environment = apps.environment(name);
      if (name === '' || environment.isDefault) {
        throw new SkerryError('conflict', `Environment '${environment.name}' is the default one.`);
      }
      for (const app of apps.list(environment.name)) await reaper.stop(app.id);
      apps.deleteEnvironment(name);
      return {};
    },
    environmentUpdate(request) {
      return toListItem(
        apps.updateEnvironment(request.currentName, {
          ...(request.name !== undefined && { name: request.name }),
          ...(request.webSuffix !== undefined && { webSuffix: request.webSuffix }),
          ...(request.imageBuilderVersion !== undefined && {
            imageBuilderVersion: request.imageBuilderVersion,
          }),
        }),
      );
    },
  };
}

function builderVersionForCaller(environment: Environment, context: HandlerContext): string {
  if (context.requestHeader.get('x-modal-client-type') !== PYTHON_CLIENT) {
    return environment.imageBuilderVersion;
  }
  const version = context.requestHeader.get('x-modal-client-version') ?? '';
  return builderVersionFor(environment.imageBuilderVersion, version);
}

const toListItem = (environment: Environment) => ({
  name: environment.name,
  webhookSuffix: environment.webSuffix,
  createdAt: toSeconds(environment.createdAtMs),
  default: environment.isDefault,
  environmentId: environment.id,
  environmentType: EnvironmentType.PUBLIC,
  imageBuilderVersion: environment.imageBuilderVersion,
});
