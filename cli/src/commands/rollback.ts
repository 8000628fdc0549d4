import { Command } from 'commander';
import { z } from 'zod';
import { askAbout, MEMORY_TIMEOUT_MS, whichSandbox } from './sandbox-request.ts';
import { addServerOptions } from './server-options.ts';

/** `skerry rollback`: a running sandbox goes on where it was. */
export function rollbackCommand(): Command {
  const command = new Command('rollback')
    .description(
      'have a sandbox go on where it was when a checkpoint was taken of it: same id, same name, same tunnels',
    )
    .argument('<sandbox>', whichSandbox)
    .argument('<checkpoint>', 'as `skerry checkpoint list` shows it');
  return addServerOptions(command, ['dataDir']).action(async (sandbox: string, checkpoint: string) => {
    const body = { checkpoint };
    const request = { method: 'POST', what: 'rollback', body, timeoutMs: MEMORY_TIMEOUT_MS } as const;
    await askAbout(command, sandbox, request, z.unknown());
    process.stdout.write('It runs, as it was then.\n');
  });
}
