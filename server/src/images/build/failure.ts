/** What to say about a RUN that failed: the command, how it ended, and its last words. */

import { SkerryError } from '../../errors/skerry-error.ts';
import type { Instruction, RunInstruction } from '../dockerfile/instruction.ts';
import type { OutputSink } from '../output-sink.ts';
import type { RunOutcome } from './run-step.ts';

/** Lines of output that a failure message repeats. */
const LAST_LINES = 12;

/** The message of a failed step; undefined when it worked. */
export function describeExit(
  instruction: RunInstruction,
  { exit, outOfMemory, diskMiB }: RunOutcome,
  output: Readonly<Record<'stdout' | 'stderr', OutputSink>>,
): string | undefined {
  if (exit.kind === 'code' && exit.value === 0) return undefined;
  const how = exit.timedOut
    ? 'was stopped since it took too long'
    : exit.kind === 'signal'
      ? `was ended by signal ${exit.value}`
      : `failed with exit code ${exit.value}`;
  const memory = outOfMemory ? ' after running out of memory' : '';
  // Programs say what went wrong on stderr; some only on stdout.
  const words = lastLines(output.stderr.tail) || lastLines(output.stdout.tail);
  const disk = /No space left on device/.test(output.stderr.tail + output.stdout.tail)
    ? diskMiB === undefined
      ? ' The machine that builds is out of disk space.'
      : ` A step may write ${diskMiB} MiB (buildDiskMiB), or less where the machine has less left.`
    : '';
  const command =
    instruction.source.length > 1000 ? `${instruction.source.slice(0, 1000)} ...` : instruction.source;
  return `\`${command}\` (Dockerfile line ${instruction.line}) ${how}${memory}.${disk}${words === '' ? '' : `\nIts last output:\n${words}`}`;
}

function lastLines(text: string): string {
  return text
    .split(/[\r\n]+/)
    .filter((line) => line.trim() !== '')
    .slice(-LAST_LINES)
    .join('\n');
}

/** Does the work of an instruction and puts the instruction in front of a failure's message. */
export async function named<T>(instruction: Instruction, work: () => T | Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof SkerryError)) throw error;
    throw new SkerryError(
      error.code,
      `\`${instruction.source}\` (Dockerfile line ${instruction.line}) failed: ${error.message}`,
      { cause: error },
    );
  }
}
