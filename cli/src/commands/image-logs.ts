import { Command } from 'commander';
import * as z from 'zod/mini';
import { addDataDirOptions, dataDirOf } from '../data-dir.ts';
import { linesOf, openAnswer } from '../operator-streams.ts';
import { requireRunningServer } from '../server-state.ts';

const logLineSchema = z.object({
  image: z.string(),
  step: z.number(),
  timeMs: z.number(),
  stream: z.enum(['stdout', 'stderr', 'system']),
  text: z.string(),
});

/** `skerry image logs` */
export function logsCommand(): Command {
  const logs = new Command('logs')
    .description('show all that the builds of an image said, and go on until one that is under way has ended')
    .argument('<image>', 'id or name')
    .option('--timestamps', 'begin each line with its time')
    .option('--json', 'print one JSON object a piece of text, with its time and its step');
  return addDataDirOptions(logs).action(
    async (image: string, options: { timestamps?: boolean; json?: boolean }) => {
      const dataDir = dataDirOf(logs);
      await printLogs(dataDir, image, options);
    },
  );
}

/** Prints the logs of an image's builds to their end. */
export async function printLogs(
  dataDir: string,
  image: string,
  { timestamps, json }: { readonly timestamps?: boolean; readonly json?: boolean },
): Promise<void> {
  const server = requireRunningServer(dataDir);
  const path = `images/${encodeURIComponent(image)}/logs`;
  const answer = await openAnswer(server, dataDir, { method: 'GET', path });
  for await (const line of linesOf(answer, logLineSchema)) {
    const time = timestamps ? `${new Date(line.timeMs).toISOString()} ` : '';
    process.stdout.write(json ? `${JSON.stringify(line)}\n` : line.text.replace(/^(?=.|\n)/gm, time));
  }
}
