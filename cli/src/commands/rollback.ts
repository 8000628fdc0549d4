import { Command } from 'commander';
import { z } from 'zod';
import { askServer } from '../operator.ts';
import { requireRunningServer } from '../server-state.ts';
import { addServerOptions, configOf, serverFlags } from './server-options.ts';

/** As long as any start, and memory is read at the speed of the disk. */
const ROLL_BACK_TIMEOUT_MS = 15 * 60_000;

/** `skerry rollback`: a running sandbox goes on where it was. */
export function rollbackCommand(): Command {
  const command = new Command('rollback')
    .description(
      'have a sandbox go on where it was when a checkpoint was taken of it: same id, same name, same tunnels',
    )
    .argument('<sandbox>', 'its id, its name, or its Modbox task id')
    .argument('<checkpoint>', 'as `skerry checkpoint list` shows it');
  return addServerOptions(command, ['dataDir']).action(async (sandbox: string, checkpoint: string) => {
    const { dataDir } = configOf(serverFlags(command));
    const path = `sandboxes/${encodeURIComponent(sandbox)}/rollback`;
    const call = { method: 'POST', path, body: { checkpoint }, timeoutMs: ROLL_BACK_TIMEOUT_MS } as const;
    await askServer(requireRunningServer(dataDir), dataDir, call, z.unknown());
    process.stdout.write('It runs, as it was then.\n');
  });
}
