import { Command } from 'commander';
import * as z from 'zod/mini';
import { CliError, ExitStatus } from '../cli-error.ts';
import { addDataDirOptions, dataDirOf } from '../data-dir.ts';
import { askServer } from '../operator.ts';
import { requireRunningServer } from '../server-state.ts';
import { formatSize, parseTime } from '../sizes.ts';

/** Removing many files takes as long as it takes. */
const PRUNE_TIMEOUT_MS = 60 * 60_000;

const collectedSchema = z.object({
  layers: z.number(),
  images: z.number(),
  files: z.number(),
  bytes: z.number(),
});

/** `skerry prune`: removes now what the server would remove by and by, or more. */
export function pruneCommand(): Command {
  const command = new Command('prune')
    .description(
      'remove what nobody uses and what can be made or sent again: built images, cached build steps, uploaded files. Snapshots, published images and volumes stay',
    )
    .option('--unused-for <time>', 'all that nobody used for so long: 90m, 12h, 7d')
    .option('--dry-run', 'only say how much that is')
    .option('--json', 'print one JSON object');
  return addDataDirOptions(command).action(
    async (options: { unusedFor?: string; dryRun?: boolean; json?: boolean }) => {
      const dataDir = dataDirOf(command);
      const unusedForMs = options.unusedFor === undefined ? undefined : parseTime(options.unusedFor);
      if (options.unusedFor !== undefined && unusedForMs === undefined) {
        throw new CliError(`'${options.unusedFor}' is no time: write 90m, 12h or 7d.`, ExitStatus.usage);
      }
      const server = requireRunningServer(dataDir);
      const dryRun = options.dryRun === true;
      const body = { dryRun, unusedForMs };
      const request = { method: 'POST', path: 'disk/prune', body, timeoutMs: PRUNE_TIMEOUT_MS } as const;
      const collected = await askServer(server, dataDir, request, collectedSchema);
      process.stdout.write(
        options.json ? `${JSON.stringify(collected)}\n` : describeCollected(collected, dryRun),
      );
    },
  );
}

export function describeCollected(
  { layers, files, bytes }: z.infer<typeof collectedSchema>,
  dryRun: boolean,
): string {
  if (layers + files === 0) return dryRun ? 'Nothing would go.\n' : 'There was nothing to remove.\n';
  return `${dryRun ? 'Would remove' : 'Removed'} ${formatSize(bytes)}: ${layers} layers of images, ${files} uploaded files.\n`;
}
