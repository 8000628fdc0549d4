/** What the engine of this machine is made with. */
import type { Config } from '../../config/config.ts';
import type { SecretHeaders } from '../../network/secret-headers.ts';
import type { FaultPoint } from '../../platform/fault-points.ts';
import type { MachineRoom } from '../../platform/machine-room.ts';
import type { Logger } from '../../telemetry/logger.ts';
import type { ContentPlaces } from '../references.ts';

export interface OciEngineOptions {
  readonly config: Pick<
    Config,
    | 'runtime'
    | 'extraCaFile'
    | 'allowPrivate'
    | 'maxConnections'
    | 'maxPids'
    | 'subnet'
    | 'nameservers'
    | 'runscPath'
    | 'cdiDirs'
    | 'gpuTypes'
    | 'diskLimits'
    | 'defaultDiskMiB'
    | 'defaultDiskFiles'
    | 'buildDiskMiB'
    | 'volumeDiskMiB'
    | 'encryptMemorySnapshots'
  >;
  readonly dataDir: string;
  /** Where layers and mounts are. */
  readonly content: ContentPlaces;
  /** Where sockets, mount points and runtime state go; by default `/run/skerry-<instance>`. Gone after a reboot, removed by `remove`. */
  readonly runDir?: string;
  readonly agentBinaryPath: string;
  readonly connectionsBinaryPath: string;
  readonly resolverBinaryPath: string;
  readonly egressBinaryPath: string;
  /** The program of `trees/`. */
  readonly treesBinaryPath: string;
  /** What sandboxes need that have secret headers; without it none can be made. */
  readonly secretHeaders?: SecretHeaders;
  /** What memory is encrypted with that is kept, 32 bytes; without it none can be. */
  readonly memoryKey?: Uint8Array;
  /** What the disks of instances share, and copies of their files leave; by default nobody else is given any of it. */
  readonly room?: MachineRoom;
  readonly logger: Logger;
  /** Network namespaces kept ready, 4 by default. */
  readonly networkPoolSize?: number;
  /** Disks of the default size kept ready, 4 by default. */
  readonly diskPoolSize?: number;
  /** How often it is looked whether the firewall's rules are still there, 10 s by default. */
  readonly networkWatchMs?: number;
  /** For tests that end the server at a chosen moment. */
  readonly faultPoint?: FaultPoint;
}
