import { Command } from 'commander';
import { z } from 'zod';
import { askAbout, MEMORY_TIMEOUT_MS, whichSandbox } from './sandbox-request.ts';
import { addServerOptions } from './server-options.ts';

const takenSchema = z.object({ id: z.string() });
const listSchema = z.object({
  checkpoints: z.array(z.object({ id: z.string(), createdAtMs: z.number(), expiresAtMs: z.number() })),
});

interface Flags {
  readonly json?: boolean;
}

/** `skerry checkpoint`: what running sandboxes are at a moment, with the memory of their programs. */
export function checkpointCommand(): Command {
  const checkpoint = new Command('checkpoint').description(
    'keep the memory and the files of running sandboxes, and list what was kept (gVisor)',
  );
  const what = 'checkpoints';

  const create = new Command('create')
    .description('keep what a running sandbox is now, which goes on; it expires after 7 days')
    .argument('<sandbox>', whichSandbox)
    .option('--json', 'print one JSON object');
  addServerOptions(create, ['dataDir']).action(async (sandbox: string, { json }: Flags) => {
    const request = { method: 'POST', what, body: {}, timeoutMs: MEMORY_TIMEOUT_MS } as const;
    const { id } = await askAbout(create, sandbox, request, takenSchema);
    process.stdout.write(`${json ? JSON.stringify({ id }) : id}\n`);
  });

  const list = new Command('list')
    .description('list what was kept of a sandbox, newest first')
    .argument('<sandbox>', whichSandbox)
    .option('--json', 'print one JSON object a line');
  addServerOptions(list, ['dataDir']).action(async (sandbox: string, { json }: Flags) => {
    const { checkpoints } = await askAbout(list, sandbox, { method: 'GET', what }, listSchema);
    for (const { id, createdAtMs, expiresAtMs } of checkpoints) {
      const createdAt = new Date(createdAtMs).toISOString();
      const expiresAt = new Date(expiresAtMs).toISOString();
      const line = json
        ? JSON.stringify({ id, createdAt, expiresAt })
        : `${id}  ${createdAt}  until ${expiresAt}`;
      process.stdout.write(`${line}\n`);
    }
    if (checkpoints.length === 0 && !json) process.stdout.write('Nothing was kept of it.\n');
  });

  return checkpoint.addCommand(create).addCommand(list);
}
