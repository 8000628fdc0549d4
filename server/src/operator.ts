/**
 * What the `skerry` command needs of the server it starts, stops and looks after: one of two doors between them, beside `local-caller.ts`. The command starts each time it is called, so what few
 * of its words need is imported when they do.
 */
import { join } from 'node:path';
import { enginePrograms } from './agent/agent-binary.ts';
import type { Config } from './config/config.ts';
import type { EngineCheck } from './engines/engine.ts';
import { defaultRunDir, Layout } from './engines/oci/layout.ts';

export { supervisorBinaryPath } from './agent/agent-binary.ts';
export type { Config } from './config/config.ts';
export { loadConfig } from './config/load-config.ts';
export { describeSettings } from './config/settings.ts';
export type { EngineCheck } from './engines/engine.ts';
export { instanceName } from './engines/oci/layout.ts';
export { run } from './platform/command.ts';
export { findProgram } from './platform/find-program.ts';
export { nodeFlags } from './platform/node-flags.ts';
export { isSystemdBooted, sandboxesUnit, serverScope, serviceUnit } from './platform/systemd.ts';
export { isLoopback } from './transport/urls.ts';

/** Sandboxes as tools of an agent, which only `skerry mcp` needs: the protocol's package takes a while to load. */
export const loadSandboxTools = async () => (await import('./api/mcp/sandbox-tools.ts')).sandboxTools;

/** What a server of that configuration must have on this machine, found or not. Needs no running one and changes nothing. */
export async function checkServer(config: Config): Promise<readonly EngineCheck[]> {
  const { createOciEngine } = await import('./engines/oci/engine.ts');
  const { ImagePlaces } = await import('./images/image-places.ts');
  const { checkImageSources } = await import('./images/source-checks.ts');
  const { checkRecords } = await import('./store/check-records.ts');
  const { SandboxContent } = await import('./sandboxes/content-places.ts');
  const { checkpointsDir } = await import('./sandboxes/memory-snapshots.ts');
  const { createLogger } = await import('./telemetry/logger.ts');
  const logger = createLogger('silent');
  const { dataDir } = config;
  const volumes = join(defaultRunDir(dataDir), 'v'); // no check looks there
  const content = new SandboxContent(ImagePlaces.in(dataDir), volumes, checkpointsDir(dataDir));
  const engine = createOciEngine({
    config,
    dataDir,
    content,
    ...enginePrograms(),
    logger,
  });
  const records = await checkRecords(config); // alone, as it times what it asks
  return [...(await Promise.all([checkImageSources(config), engine.check()])).flat(), records];
}

/** Makes a directory ready for a backup by the server. @throws SkerryError */
export async function prepareBackup(directory: string): Promise<void> {
  const { prepareBackup } = await import('./storage/backup.ts');
  return prepareBackup(directory);
}

/** Copies what opens a data directory and a backup of it. @returns which files */
export async function copyServerKeys(dataDir: string, directory: string): Promise<readonly string[]> {
  const { copyKeys } = await import('./storage/restore.ts');
  return copyKeys(dataDir, directory);
}

/** Makes a data directory of a backup. @returns when that was made, Unix milliseconds. @throws SkerryError as `restoreBackup` */
export async function restore(paths: {
  readonly from: string;
  readonly keys: string | undefined;
  readonly dataDir: string;
}): Promise<number> {
  const { backupKeyCheck } = await import('./storage/backup.ts');
  const { restoreBackup } = await import('./storage/restore.ts');
  const { openVault } = await import('./secrets/vault.ts');
  const { migrations } = await import('./store/migrations.ts');
  const keyCheckOf = (dataDir: string) => backupKeyCheck(openVault(dataDir, process.env.SKERRY_VAULT_KEY));
  return restoreBackup({ ...paths, schema: migrations.length, keyCheckOf });
}

/**
 * Moves the records of a data directory from SQLite to the PostgreSQL that the configuration names.
 * @returns how many rows
 * @throws SkerryError as `moveRecords`, and `conflict` when a server works on the directory
 */
export async function moveRecords({ dataDir, databaseUrl, databasePasswordFile }: Config): Promise<number> {
  const { lockDataDir } = await import('./platform/exclusive.ts');
  const { moveRecords } = await import('./store/move-records.ts');
  const unlock = lockDataDir(dataDir);
  try {
    return moveRecords(dataDir, { url: databaseUrl, passwordFile: databasePasswordFile });
  } finally {
    unlock();
  }
}

/** The process that resolves names for the sandboxes of that data directory; undefined when it does not run. */
export async function findResolver(dataDir: string): Promise<number | undefined> {
  const { resolverPid } = await import('./network/resolver-process.ts');
  return resolverPid(new Layout(dataDir, defaultRunDir(dataDir)).resolverSocket);
}
