/** Volumes of a sandbox, as the clients ask for them. Facts: docs/protocol/volumes-blobs-secrets.md, section 1. */
import type { VolumeId } from '../../../ids.ts';
import type { VolumeMountSpec } from '../../../volumes/volume-mount-specs.ts';
import type { VolumeMount } from '../gen/modal/common_pb.ts';
import { MAX_PATH_BYTES, text } from './fields.ts';

/**
 * Every change is kept in the end, whether it may be in the background (`allow_background_commits`) or not: the clients always allow it.
 * What the paths may be the domain says.
 */
export const volumeMounts = (mounts: readonly VolumeMount[]): readonly VolumeMountSpec[] =>
  mounts.map(({ volumeId, mountPath, readOnly, subPath }) => ({
    volumeId: text(volumeId, 'volume_mounts.volume_id', MAX_PATH_BYTES) as VolumeId, // a lookup finds nothing under text that is no id
    target: text(mountPath, 'volume_mounts.mount_path', MAX_PATH_BYTES),
    readOnly,
    subPath: text(subPath ?? '', 'volume_mounts.sub_path', MAX_PATH_BYTES),
  }));
