import { Command } from 'commander';
import { z } from 'zod';
import { askServer } from '../operator.ts';
import { requireRunningServer } from '../server-state.ts';
import { addServerOptions, configOf, serverFlags } from './server-options.ts';

/** Memory is written at the speed of the disk. */
const SUSPEND_TIMEOUT_MS = 15 * 60_000;

/** `skerry suspend`: keeps a sandbox on the disk alone. */
export function suspendCommand(): Command {
  const command = new Command('suspend')
    .description(
      'keep a running sandbox on the disk, with the memory of its programs, until somebody uses it (gVisor)',
    )
    .argument('<sandbox>', 'its id, its name, or its Modbox task id');
  return addServerOptions(command, ['dataDir']).action(async (sandbox: string) => {
    const { dataDir } = configOf(serverFlags(command));
    const path = `sandboxes/${encodeURIComponent(sandbox)}/suspend`;
    const request = { method: 'POST', path, timeoutMs: SUSPEND_TIMEOUT_MS } as const;
    const { id } = await askServer(
      requireRunningServer(dataDir),
      dataDir,
      request,
      z.object({ id: z.string() }),
    );
    process.stdout.write(`${id} is suspended.\n`);
  });
}
