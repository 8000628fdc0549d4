/** Volumes by name. Facts: docs/protocol/volumes-blobs-secrets.md, section 1. */
import type { ServiceImpl } from '@connectrpc/connect';
import type { Apps } from '../../../apps/apps.ts';
import { SkerryError } from '../../../errors/skerry-error.ts';
import type { AppId, VolumeId } from '../../../ids.ts';
import type { VolumeMounts } from '../../../volumes/volume-mounts.ts';
import type { FileProtocol, VolumeInfo, Volumes } from '../../../volumes/volumes.ts';
import type { ModalClient } from '../gen/modal/service_pb.ts';
import { VolumeFsVersion, type VolumeGetOrCreateRequest } from '../gen/modal/volumes_pb.ts';
import { ObjectCreationType } from '../gen/modal/workspace_pb.ts';
import { pageOf } from '../rpc/page.ts';
import { toSeconds } from '../rpc/wire-time.ts';

export interface VolumeHandlerDeps {
  readonly apps: Apps;
  readonly volumes: Volumes;
  readonly volumeMounts: Pick<VolumeMounts, 'commit'>;
}

export function volumeHandlers({
  apps,
  volumes,
  volumeMounts,
}: VolumeHandlerDeps): Partial<ServiceImpl<typeof ModalClient>> {
  const getOrCreate = (request: VolumeGetOrCreateRequest): VolumeInfo => {
    const { deploymentName: name, environmentName, objectCreationType } = request;
    const environmentId = () => apps.environment(environmentName).id;
    const protocol = toProtocol(request.version);
    switch (objectCreationType) {
      case ObjectCreationType.UNSPECIFIED:
        return volumes.lookup(environmentId(), name);
      case ObjectCreationType.CREATE_IF_MISSING:
        return volumes.create(environmentId(), name, protocol, 'keep');
      case ObjectCreationType.CREATE_FAIL_IF_EXISTS:
        return volumes.create(environmentId(), name, protocol, 'fail');
      case ObjectCreationType.ANONYMOUS_OWNED_BY_APP:
        // A lookup finds nothing under text that is no id, so any text may pass as one.
        return volumes.createEphemeral(apps.get(request.appId as AppId).environmentId, protocol);
      case ObjectCreationType.EPHEMERAL:
        return volumes.createEphemeral(environmentId(), protocol);
      case ObjectCreationType.CREATE_OVERWRITE_IF_EXISTS:
        throw new SkerryError(
          'invalid-argument',
          'A volume is not overwritten: delete it first, or give another name.',
        );
      default:
        // proto3 enums are open: a client may send numbers this server does not know.
        throw new SkerryError('invalid-argument', `Unknown object_creation_type ${objectCreationType}.`);
    }
  };

  return {
    volumeGetOrCreate(request) {
      const volume = getOrCreate(request);
      const metadata = toMetadata(volume);
      return { volumeId: volume.id, version: metadata.version, metadata };
    },
    volumeGetById({ volumeId }) {
      const volume = volumes.get(asVolumeId(volumeId));
      return { volumeId: volume.id, metadata: toMetadata(volume) };
    },
    volumeHeartbeat({ volumeId }) {
      volumes.heartbeat(asVolumeId(volumeId));
      return {};
    },
    volumeList({ environmentName, pagination }) {
      const environment = apps.environment(environmentName);
      const { beforeMs, limit } = pageOf(pagination);
      return {
        environmentName: environment.name,
        items: volumes.list(environment.id, beforeMs, limit).map((volume) => ({
          label: volume.name ?? '',
          volumeId: volume.id,
          createdAt: toSeconds(volume.createdAtMs),
          metadata: toMetadata(volume),
        })),
      };
    },
    volumeRename({ volumeId, name }) {
      volumes.rename(asVolumeId(volumeId), name);
      return {};
    },
    volumeDelete({ volumeId }) {
      volumes.delete(asVolumeId(volumeId));
      return {};
    },
    async volumeCommit({ volumeId }) {
      await volumeMounts.commit(asVolumeId(volumeId));
      return { skipReload: true };
    },
    // Meant for code inside of containers; out here nothing old is shown.
    volumeReload({ volumeId }) {
      volumes.get(asVolumeId(volumeId));
      return {};
    },
  };
}

export const asVolumeId = (text: string): VolumeId => text as VolumeId;

/** A client that asks for 1 and is told 2 refuses the volume, one that asks for nothing takes either. */
function toProtocol(version: VolumeFsVersion): FileProtocol {
  switch (version) {
    case VolumeFsVersion.V1:
      return 1;
    case VolumeFsVersion.V2:
    case VolumeFsVersion.UNSPECIFIED:
      return 2;
    default:
      throw new SkerryError('invalid-argument', `Unknown volume version ${version}.`);
  }
}

const toMetadata = ({ name, protocol, createdAtMs }: VolumeInfo) => ({
  version: protocol === 1 ? VolumeFsVersion.V1 : VolumeFsVersion.V2,
  name: name ?? '',
  creationInfo: { createdAt: toSeconds(createdAtMs) },
});
