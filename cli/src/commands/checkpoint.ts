import { Command } from 'commander';
import * as z from 'zod/mini';
import { ask } from '../ask.ts';
import { addDataDirOptions } from '../data-dir.ts';
import { askAbout, MEMORY_TIMEOUT_MS, whichSandbox } from './sandbox-request.ts';

const takenSchema = z.object({ id: z.string() });
const listSchema = z.object({
  checkpoints: z.array(
    z.object({ id: z.string(), sandbox: z.string(), createdAtMs: z.number(), expiresAtMs: z.number() }),
  ),
});

interface Flags {
  readonly json?: boolean;
}

/** `skerry checkpoint`: what running sandboxes are at a moment, with the memory of their programs. */
export function checkpointCommand(): Command {
  const checkpoint = new Command('checkpoint').description(
    'keep the memory and the files of running sandboxes, list what was kept, and remove it (gVisor)',
  );
  const what = 'checkpoints';

  const create = new Command('create')
    .description('keep what a running sandbox is now, which goes on; it expires after 7 days')
    .argument('<sandbox>', whichSandbox)
    .option('--json', 'print one JSON object');
  addDataDirOptions(create).action(async (sandbox: string, { json }: Flags) => {
    const request = { method: 'POST', what, body: {}, timeoutMs: MEMORY_TIMEOUT_MS } as const;
    const { id } = await askAbout(create, sandbox, request, takenSchema);
    process.stdout.write(`${json ? JSON.stringify({ id }) : id}\n`);
  });

  const list = new Command('list')
    .description('list what was kept, newest first: of a sandbox, or of all, those too that are gone')
    .argument('[sandbox]', whichSandbox)
    .option('--json', 'print one JSON object a line');
  addDataDirOptions(list).action(async (sandbox: string | undefined, { json }: Flags) => {
    const request = { method: 'GET' } as const;
    const { checkpoints } = await (sandbox === undefined
      ? ask(list, { ...request, path: what }, listSchema)
      : askAbout(list, sandbox, { ...request, what }, listSchema));
    for (const { id, sandbox: of, createdAtMs, expiresAtMs } of checkpoints) {
      const createdAt = new Date(createdAtMs).toISOString();
      const expiresAt = new Date(expiresAtMs).toISOString();
      const line = json
        ? JSON.stringify({ id, sandbox: of, createdAt, expiresAt })
        : `${id}  ${createdAt}  until ${expiresAt}${sandbox === undefined ? `  of ${of}` : ''}`;
      process.stdout.write(`${line}\n`);
    }
    if (checkpoints.length === 0 && !json) process.stdout.write('Nothing was kept.\n');
  });

  const remove = new Command('delete')
    .description('remove what was kept; sandboxes that went on from it go on')
    .argument('<checkpoint...>', 'as `skerry checkpoint list` shows it');
  addDataDirOptions(remove).action(async (ids: string[]) => {
    for (const id of ids) {
      const path = `${what}/${encodeURIComponent(id)}`;
      await ask(remove, { method: 'DELETE', path }, z.unknown());
    }
  });

  return checkpoint.addCommand(create).addCommand(list).addCommand(remove);
}
