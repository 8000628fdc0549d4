import { Command } from 'commander';
import * as z from 'zod/mini';
import { addDataDirOptions } from '../data-dir.ts';
import { oneObject, tell } from '../tell.ts';
import { askAbout, MEMORY_TIMEOUT_MS, whichSandbox } from './sandbox-request.ts';

/** `skerry rollback`: a running sandbox goes on where it was. */
export function rollbackCommand(): Command {
  const command = new Command('rollback')
    .description(
      'have a sandbox go on where it was when a checkpoint was taken of it: same id, same name, same tunnels',
    )
    .argument('<sandbox>', whichSandbox)
    .argument('<checkpoint>', 'as `skerry checkpoint list` shows it')
    .option(...oneObject);
  return addDataDirOptions(command).action(
    async (sandbox: string, checkpoint: string, options: { json?: boolean }) => {
      const body = { checkpoint };
      const request = { method: 'POST', what: 'rollback', body, timeoutMs: MEMORY_TIMEOUT_MS } as const;
      const { id } = await askAbout(command, sandbox, request, z.object({ id: z.string() }));
      tell({ id, checkpoint }, 'It runs, as it was then.', options);
    },
  );
}
