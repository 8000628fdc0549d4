/** Asks the server of this machine, which a command finds by its data directory. */
import type { Command } from 'commander';
import type * as z from 'zod/mini';
import { dataDirOf } from './data-dir.ts';
import { askServer } from './operator.ts';
import { requireRunningServer } from './server-state.ts';

/** @throws CliError when no server runs, and as `askServer` */
export function ask<Answer>(
  command: Command,
  request: Parameters<typeof askServer>[2],
  answer: z.core.$ZodType<Answer>,
): Promise<Answer> {
  const dataDir = dataDirOf(command);
  return askServer(requireRunningServer(dataDir), dataDir, request, answer);
}
