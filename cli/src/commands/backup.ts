import { resolve } from 'node:path';
import { Command } from 'commander';
import { z } from 'zod';
import { copyServerKeys, prepareBackup, restore } from '../../../server/src/operator.ts';
import { CliError } from '../cli-error.ts';
import { addDataDirOptions, dataDirOf } from '../data-dir.ts';
import { askServer } from '../operator.ts';
import { readServerState, requireRunningServer } from '../server-state.ts';
import { oneObject, tell } from '../tell.ts';

/** Copying takes as long as it takes. */
const BACKUP_TIMEOUT_MS = 2 * 3_600_000;

const madeSchema = z.object({
  imageLayers: z.number(),
  volumeLayers: z.number(),
  files: z.number(),
  copied: z.number(),
});

/** `skerry backup DIR`: what outlasts sandboxes, from a server that runs. */
export function backupCommand(): Command {
  const command = new Command('backup')
    .description(
      'copy images, volumes, secrets, apps and tokens of the running server into a directory; sandboxes and their output are not in it. Once more into the same directory copies what is new',
    )
    .argument('<directory>', 'a new or empty one, or that of an earlier backup')
    .option('--keys <directory>', 'also copy what opens it (vault.key, token.json, tls/), to another place')
    .option(...oneObject);
  return addDataDirOptions(command).action(
    async (where: string, options: { keys?: string; json?: boolean }) => {
      const dataDir = dataDirOf(command);
      const server = requireRunningServer(dataDir);
      const directory = resolve(where);
      const keys = options.keys === undefined ? undefined : resolve(options.keys);
      if (keys !== undefined && `${keys}/`.startsWith(`${directory}/`))
        throw new CliError('The keys belong in another place than the backup, which they open.');
      await prepareBackup(directory);
      const request = {
        method: 'POST',
        path: 'backup',
        body: { directory },
        timeoutMs: BACKUP_TIMEOUT_MS,
      } as const;
      const made = await askServer(server, dataDir, request, madeSchema);
      const { imageLayers, volumeLayers, files, copied } = made;
      const copies = keys === undefined ? [] : await copyServerKeys(dataDir, keys);
      const words = [
        `Backed up ${imageLayers} layers of images, ${volumeLayers} of volumes and ${files} uploaded files, ${copied} of them new, to ${directory}`,
        ...(keys === undefined
          ? []
          : [`Copied ${copies.join(', ')} to ${keys}: whoever has both can read all secrets.`]),
      ];
      tell({ directory, ...made, keys: copies }, words.join('\n'), options);
      if (keys === undefined) {
        process.stderr.write(
          'The key of its secrets is not in it. Keep a copy of vault.key elsewhere (--keys): without it nothing of the backup can be restored.\n',
        );
      }
    },
  );
}

/** `skerry restore DIR`: a data directory made of a backup. */
export function restoreCommand(): Command {
  const command = new Command('restore')
    .description('make a new data directory of a backup; start a server on it with skerry up --data-dir')
    .argument('<directory>', 'that of the backup')
    .option(
      '--keys <directory>',
      'where skerry backup --keys put the keys; without it SKERRY_VAULT_KEY has the key',
    )
    .option(...oneObject);
  return addDataDirOptions(command).action(
    async (where: string, options: { keys?: string; json?: boolean }) => {
      const dataDir = dataDirOf(command);
      if (readServerState(dataDir))
        throw new CliError(`A server uses ${dataDir}: restore into another --data-dir.`);
      const keys = options.keys === undefined ? undefined : resolve(options.keys);
      const createdAtMs = await restore({ from: resolve(where), keys, dataDir });
      const madeAt = new Date(createdAtMs).toISOString();
      const words = `Restored the backup of ${madeAt} to ${dataDir}. Start it: skerry up --data-dir ${dataDir}`;
      tell({ dataDir, madeAt }, words, options);
    },
  );
}
