/** The end of what a stopped server left: apart from the server, whose interfaces take most of the time of a start to load. */
import type { Config } from './config/config.ts';
import { createClusterEngine, createEngine } from './create-engine.ts';
import { SkerryError } from './errors/skerry-error.ts';
import { CleanupScope } from './platform/cleanup.ts';
import { lockDataDir } from './platform/exclusive.ts';
import { MachineRoom } from './platform/machine-room.ts';
import { removeMemberDirs } from './platform/member-dirs.ts';
import { markAllTerminated } from './sandboxes/recovery.ts';
import { openStore, type Store } from './store/store.ts';
import type { Logger } from './telemetry/logger.ts';

/** Ends every sandbox that a stopped server left, and removes everything of it from the machine but its data directory. */
export async function destroyAll(config: Config, logger: Logger): Promise<void> {
  await using cleanup = new CleanupScope(logger);
  cleanup.add('lock', lockDataDir(config.dataDir));
  const store = openIfThere(config, logger);
  cleanup.add('store', () => store?.close());
  const cluster = await createClusterEngine(config, new MachineRoom(config.dataDir), logger);
  const engines = [createEngine(config, {}, logger), ...(cluster ? [cluster] : [])];
  for (const engine of engines) {
    await engine.open();
    await engine.adopt(new Set());
  }
  if (store) markAllTerminated(store.sandboxes, Date.now());
  for (const engine of engines) {
    await engine.close();
    await engine.remove();
  }
  await removeMemberDirs(config.dataDir);
}

/** Without records everything ends all the same; the next server finds that nothing of it is there. */
function openIfThere(
  { dataDir, databaseUrl, databasePasswordFile }: Config,
  logger: Logger,
): Store | undefined {
  try {
    return openStore(dataDir, databaseUrl, databasePasswordFile);
  } catch (error) {
    if (!(error instanceof SkerryError && error.code === 'unavailable')) throw error;
    logger.warn({ err: error }, 'destroy-all.not-recorded');
    return undefined;
  }
}
