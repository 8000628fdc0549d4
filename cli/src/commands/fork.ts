import { Command } from 'commander';
import * as z from 'zod/mini';
import { addDataDirOptions } from '../data-dir.ts';
import { parseCount } from '../option-values.ts';
import { askAbout, MEMORY_TIMEOUT_MS, whichSandbox } from './sandbox-request.ts';

const madeSchema = z.object({
  sandboxes: z.array(z.object({ id: z.string(), name: z.optional(z.string()) })),
});

interface ForkFlags {
  readonly count: number;
  readonly name?: string;
  readonly json?: boolean;
}

/** `skerry fork`: running copies of a running sandbox. */
export function forkCommand(): Command {
  const command = new Command('fork')
    .description('make running copies of a running sandbox, with the memory of its programs (gVisor)')
    .argument('<sandbox>', whichSandbox)
    .option('-n, --count <number>', 'how many: all of them are made, or none', parseCount, 1)
    .option('--name <name>', 'the name of the copy; several get <name>-1, <name>-2 and so on')
    .option('--json', 'print one JSON object a line');
  return addDataDirOptions(command).action(async (sandbox: string, flags: ForkFlags) => {
    const { count, name, json } = flags;
    const body = { count, name };
    const request = { method: 'POST', what: 'fork', body, timeoutMs: MEMORY_TIMEOUT_MS } as const;
    const { sandboxes } = await askAbout(command, sandbox, request, madeSchema);
    for (const made of sandboxes) {
      const line = json ? JSON.stringify(made) : [made.id, made.name ?? ''].join('  ').trimEnd();
      process.stdout.write(`${line}\n`);
    }
  });
}
