/** The engine of a server, as its configuration says: the server has one, and so has who removes what it left. */
import { join } from 'node:path';
import { enginePrograms } from './agent/agent-binary.ts';
import type { Config } from './config/config.ts';
import type { Engine } from './engines/engine.ts';
import { createOciEngine } from './engines/oci/engine.ts';
import { defaultRunDir } from './engines/oci/layout.ts';
import type { OciEngineOptions } from './engines/oci/options.ts';
import { ImagePlaces } from './images/image-places.ts';
import { SandboxContent } from './sandboxes/content-places.ts';
import { checkpointsDir } from './sandboxes/memory-snapshots.ts';
import type { Logger } from './telemetry/logger.ts';

/** @param parts what the engine needs for sandboxes to go on; nothing where they are to end */
export const createEngine = (
  config: Config,
  parts: Pick<OciEngineOptions, 'secretHeaders' | 'memoryKey' | 'room'>,
  logger: Logger,
): Engine =>
  createOciEngine({
    config,
    dataDir: config.dataDir,
    content: new SandboxContent(
      ImagePlaces.in(config.dataDir),
      volumeTreesDir(config),
      checkpointsDir(config.dataDir),
    ),
    ...enginePrograms(),
    ...parts,
    logger,
  });

/** In the engine's run directory: private, gone after a reboot, and removed with it. */
export const volumeTreesDir = ({ dataDir }: Config): string => join(defaultRunDir(dataDir), 'v');
