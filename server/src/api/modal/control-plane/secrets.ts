/** Secrets. Facts: docs/protocol/volumes-blobs-secrets.md, section 3. */
import type { ServiceImpl } from '@connectrpc/connect';
import type { Apps } from '../../../apps/apps.ts';
import { SkerryError } from '../../../errors/skerry-error.ts';
import type { AppId, SecretId } from '../../../ids.ts';
import type { SecretInfo, Secrets } from '../../../secrets/secrets.ts';
import type { SecretGetOrCreateRequest } from '../gen/modal/secrets_pb.ts';
import type { ModalClient } from '../gen/modal/service_pb.ts';
import { ObjectCreationType } from '../gen/modal/workspace_pb.ts';
import { pageOf } from '../rpc/page.ts';
import { toSeconds } from '../rpc/wire-time.ts';

export interface SecretHandlerDeps {
  readonly apps: Apps;
  readonly secrets: Secrets;
}

export function secretHandlers({
  apps,
  secrets,
}: SecretHandlerDeps): Partial<ServiceImpl<typeof ModalClient>> {
  const toMetadata = (info: SecretInfo, environmentName: string) => ({
    name: info.name ?? '',
    creationInfo: { createdAt: toSeconds(info.createdAtMs) },
    keys: [...info.keys],
    environmentName,
    lastUsedAt: toSeconds(info.lastUsedAtMs),
  });

  const environmentNameOf = (info: SecretInfo): string =>
    apps.environments().find(({ id }) => id === info.environmentId)?.name ?? '';

  const getOrCreate = (request: SecretGetOrCreateRequest): SecretInfo => {
    const { deploymentName: name, environmentName, envDict, objectCreationType } = request;
    const environmentId = () => apps.environment(environmentName).id;
    switch (objectCreationType) {
      case ObjectCreationType.UNSPECIFIED:
        return secrets.lookup(environmentId(), name, request.requiredKeys);
      case ObjectCreationType.CREATE_IF_MISSING:
        return secrets.create(environmentId(), name, envDict, 'keep');
      case ObjectCreationType.CREATE_FAIL_IF_EXISTS:
        return secrets.create(environmentId(), name, envDict, 'fail');
      case ObjectCreationType.CREATE_OVERWRITE_IF_EXISTS:
        return secrets.create(environmentId(), name, envDict, 'replace');
      case ObjectCreationType.ANONYMOUS_OWNED_BY_APP: {
        // A lookup finds nothing under text that is no id, so any text may pass as one.
        const app = apps.get(request.appId as AppId);
        return secrets.createEphemeral(app.environmentId, envDict);
      }
      case ObjectCreationType.EPHEMERAL:
        return secrets.createEphemeral(environmentId(), envDict);
      default:
        // proto3 enums are open: a client may send numbers this server does not know.
        throw new SkerryError('invalid-argument', `Unknown object_creation_type ${objectCreationType}.`);
    }
  };

  return {
    secretGetOrCreate(request) {
      const info = getOrCreate(request);
      return { secretId: info.id, metadata: toMetadata(info, environmentNameOf(info)) };
    },
    secretGetInfo({ secretId }) {
      const info = secrets.get(asSecretId(secretId));
      return { metadata: toMetadata(info, environmentNameOf(info)) };
    },
    secretList({ environmentName, pagination }) {
      const environment = apps.environment(environmentName);
      const { beforeMs, limit } = pageOf(pagination);
      return {
        environmentName: environment.name,
        items: secrets.list(environment.id, beforeMs, limit).map((info) => ({
          label: info.name ?? '',
          createdAt: toSeconds(info.createdAtMs),
          lastUsedAt: toSeconds(info.lastUsedAtMs),
          environmentName: environment.name,
          secretId: info.id,
          metadata: toMetadata(info, environment.name),
        })),
      };
    },
    secretUpdate({ secretId, updates }) {
      const changes = Object.fromEntries(updates.map(({ key, value }) => [key, value]));
      secrets.update(asSecretId(secretId), changes);
      return {};
    },
    secretDelete({ secretId }) {
      secrets.delete(asSecretId(secretId));
      return {};
    },
  };
}

const asSecretId = (text: string): SecretId => text as SecretId;
