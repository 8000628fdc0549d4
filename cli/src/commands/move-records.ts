import { Command } from 'commander';
import { loadConfig, moveRecords } from '../../../server/src/operator.ts';
import { CliError } from '../cli-error.ts';
import { addDataDirOptions, dataDirOf } from '../data-dir.ts';
import { readServerState } from '../server-state.ts';
import { oneObject, tell } from '../tell.ts';

/** `skerry move-records`: from SQLite to PostgreSQL, while no server runs. */
export function moveRecordsCommand(): Command {
  const command = new Command('move-records')
    .description(
      'move what a stopped server knows from its data directory to the PostgreSQL that SKERRY_DATABASE_URL or the configuration file names',
    )
    .option(...oneObject);
  return addDataDirOptions(command).action(async (options: { json?: boolean; config?: string }) => {
    const dataDir = dataDirOf(command);
    if (readServerState(dataDir))
      throw new CliError(`A server uses ${dataDir}: stop it with skerry down --keep, sandboxes go on.`);
    const config = loadConfig({
      ...{ argv: ['--data-dir', dataDir], env: process.env },
      ...(options.config !== undefined && { configFile: options.config }),
    });
    if (config.databaseUrl === '')
      throw new CliError(
        'Say where to: SKERRY_DATABASE_URL=postgres://user@host/name, or databaseUrl in the configuration file.',
      );
    const rows = await moveRecords(config);
    tell(
      { dataDir, rows },
      `Moved ${rows} rows. skerry.db is kept as skerry.db.moved. Start the server as before, with the same database URL: skerry up`,
      options,
    );
  });
}
