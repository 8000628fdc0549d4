/** What the commands on the memory of sandboxes have in common: they ask this machine's server, most about one sandbox. */
import type { Command } from 'commander';
import type * as z from 'zod/mini';
import { ask } from '../ask.ts';

/** Memory is written and read at the speed of the disk, and copies of a sandbox start a few at a time. */
export const MEMORY_TIMEOUT_MS = 15 * 60_000;

export const whichSandbox = 'its id, its name, or its Modbox task id';

interface SandboxRequest {
  readonly method: 'GET' | 'POST';
  /** What of the sandbox, as the last part of the path. */
  readonly what: string;
  readonly body?: object;
  readonly timeoutMs?: number;
}

/** @throws as `ask` */
export const askAbout = <Answer>(
  command: Command,
  sandbox: string,
  { what, ...request }: SandboxRequest,
  answer: z.core.$ZodType<Answer>,
): Promise<Answer> =>
  ask(command, { ...request, path: `sandboxes/${encodeURIComponent(sandbox)}/${what}` }, answer);
