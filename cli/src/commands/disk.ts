import { Command } from 'commander';
import * as z from 'zod/mini';
import { ask } from '../ask.ts';
import { formatColumns } from '../columns.ts';
import { addDataDirOptions } from '../data-dir.ts';
import { formatSize } from '../sizes.ts';

/** Counting the files of volumes takes as long as it takes. */
const COUNT_TIMEOUT_MS = 10 * 60_000;

const kinds = {
  images: 'images and cached build steps',
  files: 'uploaded files',
  volumes: 'volumes',
  'volumes-mounted': 'volumes in sandboxes',
  sandboxes: 'sandboxes and builds',
  'memory-snapshots': 'memory of snapshots',
  output: 'output',
  records: 'database and logs',
} as const;

const useSchema = z.object({
  sizeBytes: z.number(),
  freeBytes: z.number(),
  parts: z.array(
    z.object({
      what: z.enum(Object.keys(kinds) as (keyof typeof kinds)[]), // its own keys
      bytes: z.number(),
      count: z.optional(z.number()),
      collectableBytes: z.optional(z.number()),
    }),
  ),
});

/** `skerry disk`: what of the data directory takes how much room. */
export function diskCommand(): Command {
  const command = new Command('disk')
    .description('show what takes how much room on the disk, and what of it nobody uses')
    .option('--json', 'print one JSON object');
  return addDataDirOptions(command).action(async (options: { json?: boolean }) => {
    const request = { method: 'GET', path: 'disk', timeoutMs: COUNT_TIMEOUT_MS } as const;
    const use = await ask(command, request, useSchema);
    process.stdout.write(options.json ? `${JSON.stringify(use)}\n` : formatUse(use));
  });
}

/** A line for each kind, and one for the file system. */
export function formatUse({ sizeBytes, freeBytes, parts }: z.infer<typeof useSchema>): string {
  const rows = parts.map(({ what, bytes, count, collectableBytes }) => [
    kinds[what],
    formatSize(bytes),
    count === undefined ? '' : String(count),
    collectableBytes === undefined ? '' : formatSize(collectableBytes),
  ]);
  const table = formatColumns([['WHAT', 'SIZE', 'COUNT', 'UNUSED'], ...rows], 1);
  return `${table}\n${formatSize(freeBytes)} of ${formatSize(sizeBytes)} are free.\n`;
}
