/** The volumes of one data directory: which there are, what they hold, and what sandboxes do in them. */
import { join } from 'node:path';
import type { FaultPoint } from '../platform/fault-points.ts';
import type { BlockRepository, VolumeMountRepository, VolumeRepository } from './repositories.ts';
import { LayeredVolumeFiles, type VolumeFilesOptions } from './volume-files.ts';
import { VolumeMounts, type VolumeMountsOptions } from './volume-mounts.ts';
import { VolumeService } from './volume-service.ts';

export interface VolumesOptions
  extends Pick<VolumeFilesOptions, 'blobs' | 'ticketKey' | 'logger' | 'now' | 'room'> {
  readonly dataDir: string;
  /** @see VolumeFilesOptions */
  readonly maxBytes?: number;
  /** @see VolumeMountsOptions */
  readonly mountDir: string;
  /** @see VolumeMountsOptions */
  readonly disks?: VolumeMountsOptions['disks'];
  /** @see VolumeMountsOptions */
  readonly treesBinary: string;
  readonly store: {
    readonly volumes: VolumeRepository;
    readonly volumeBlocks: BlockRepository;
    readonly volumeMounts: VolumeMountRepository;
  };
  /** For tests that end the server at a chosen moment. */
  readonly faultPoint?: FaultPoint;
}

export interface OpenVolumes {
  readonly volumes: VolumeService;
  readonly volumeFiles: LayeredVolumeFiles;
  /** To be closed. */
  readonly volumeMounts: VolumeMounts;
}

export function openVolumes({
  dataDir,
  mountDir,
  disks,
  treesBinary,
  store,
  faultPoint,
  maxBytes = Number.POSITIVE_INFINITY,
  ...rest
}: VolumesOptions): OpenVolumes {
  const directory = join(dataDir, 'volumes');
  const { volumes, volumeBlocks: blocks, volumeMounts: rows } = store;
  const files = new LayeredVolumeFiles({ ...rest, directory, volumes, blocks, maxBytes });
  return {
    volumes: new VolumeService(volumes, rest.now),
    volumeFiles: files,
    volumeMounts: new VolumeMounts({
      ...{ files, rows, mountDir, disks, treesBinary, logger: rest.logger },
      directory: join(directory, 'mounted'),
      ...(faultPoint && { faultPoint }),
    }),
  };
}
