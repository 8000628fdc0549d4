/** What the programs that play the server of a `Lab` have done elsewhere: on another machine, and in sandboxes, by the programs beside this file. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { run } from '../../platform/command.ts';
import type { Lease } from '../network.ts';
import { describeEvent, type NetworkEvent } from '../network-events.ts';
import type { Attempt } from './traveller.ts';

const NODE = [process.execPath, '--no-warnings'] as const;
const here = (program: string): string => fileURLToPath(new URL(program, import.meta.url));

/** Runs a program on another machine for as long as this process is there, which does not end by itself then. Resolves when it says something. */
export async function startOutside(namespace: string, program: string, what: unknown): Promise<void> {
  const command = ['netns', 'exec', namespace, ...NODE, here(program), JSON.stringify(what)];
  const child = spawn('ip', command, { stdio: ['ignore', 'pipe', 'inherit'] });
  process.once('exit', () => child.kill('SIGKILL'));
  await once(child.stdout, 'data');
}

/** The command of a program in a sandbox; of Node itself where there is none. */
export const inSandbox = (
  { namespacePath }: Pick<Lease, 'namespacePath'>,
  program: string | undefined,
  ...words: readonly string[]
): readonly [string, ...string[]] => [
  ...(['nsenter', `--net=${namespacePath}`, '--', ...NODE] as const),
  ...(program === undefined ? [] : [here(program)]),
  ...words,
];

/** What came of attempts (`traveller.ts`). */
export async function attemptIn(
  lease: Pick<Lease, 'namespacePath'>,
  attempts: Readonly<Record<string, Attempt>>,
): Promise<Record<string, string>> {
  const command = inSandbox(lease, 'traveller.ts', JSON.stringify(attempts));
  return JSON.parse((await run(command, { timeoutMs: 120_000 })).stdout);
}

/** Events as people are told of them, without how many bytes, where there were some in both directions. */
export const inShort = (events: readonly NetworkEvent[]): readonly string[] =>
  events.map((event) => describeEvent(event).replace(/[1-9]\d* bytes sent, [1-9]\d* received/, 'bytes'));

/** Says what came of it all, as JSON, and ends. */
export function conclude(results: unknown): void {
  process.stdout.write(`${JSON.stringify(results)}\n`, () => process.exit());
}
