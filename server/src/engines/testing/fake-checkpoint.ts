/** Checkpoints of the fake engine: no memory, but which programs the agent had. They begin anew in what goes on from it. */
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { AgentClient } from '../../agent/agent-client.ts';
import { SkerryError } from '../../errors/skerry-error.ts';
import { createLogger } from '../../telemetry/logger.ts';
import type { AgentListener } from '../oci/agent-listener.ts';
import type { CheckpointRef, ContentPlaces, FilePlaces } from '../references.ts';

/** Checkpoints are only for tests that have a place for them. */
export type FakeContent = FilePlaces & Partial<Pick<ContentPlaces, 'checkpoint'>>;

export function placeOf(content: FakeContent, ref: CheckpointRef): string {
  if (!content.checkpoint) throw new Error('this test has no place for checkpoints');
  return content.checkpoint(ref);
}

/** A program that was started by the agent. */
export interface FakeProgram {
  readonly id: string;
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly cwd: string;
}

const file = (directory: string): string => join(directory, 'programs.json');

export async function keepPrograms(directory: string, programs: readonly FakeProgram[]): Promise<void> {
  const partial = `${directory}.partial`;
  await rm(partial, { recursive: true, force: true });
  await mkdir(partial, { recursive: true });
  await writeFile(file(partial), JSON.stringify(programs));
  await rename(partial, directory);
}

/** @throws SkerryError `not-found` */
export async function keptPrograms(directory: string): Promise<readonly FakeProgram[]> {
  const text = await readFile(file(directory), 'utf8').catch(() => undefined);
  if (text === undefined) throw new SkerryError('not-found', 'The snapshot of the memory is gone.');
  return JSON.parse(text) as FakeProgram[]; // written above
}

/** Has an agent that has called run them. */
export async function startPrograms(
  listener: AgentListener,
  programs: readonly FakeProgram[],
  signal: AbortSignal,
): Promise<void> {
  const agent = new AgentClient((abort) => listener.dial(abort), createLogger('silent'));
  const sink = { write: () => undefined, eof: () => {}, exit: () => {}, lost: () => {} };
  const piped = { stdin: 'pipe', stdout: 'pipe', stderr: 'pipe' } as const;
  for (const program of programs) (await agent.start({ ...program, ...piped }, sink, signal)).detach();
}
