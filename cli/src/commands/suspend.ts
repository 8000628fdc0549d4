import { Command } from 'commander';
import * as z from 'zod/mini';
import { addDataDirOptions } from '../data-dir.ts';
import { oneObject, tell } from '../tell.ts';
import { askAbout, MEMORY_TIMEOUT_MS, whichSandbox } from './sandbox-request.ts';

/** `skerry suspend`: keeps a sandbox on the disk alone. */
export function suspendCommand(): Command {
  const command = new Command('suspend')
    .description(
      'keep a running sandbox on the disk, with the memory of its programs, until somebody uses it (gVisor)',
    )
    .argument('<sandbox>', whichSandbox)
    .option(...oneObject);
  return addDataDirOptions(command).action(async (sandbox: string, options: { json?: boolean }) => {
    const request = { method: 'POST', what: 'suspend', timeoutMs: MEMORY_TIMEOUT_MS } as const;
    const { id } = await askAbout(command, sandbox, request, z.object({ id: z.string() }));
    tell({ id, status: 'suspended' }, `${id} is suspended.`, options);
  });
}
