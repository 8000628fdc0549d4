/** Single writes to a program's input, of the command router and of V1. */
import { SkerryError } from '../../../errors/skerry-error.ts';
import { sandboxEnded } from '../../../sandboxes/sandbox-errors.ts';
import type { Process, Sandbox } from '../../../sandboxes/sandboxes.ts';

/** The entrypoint's process, waiting for a starting sandbox. @throws SkerryError `stdin-closed` when there is none */
export async function entrypointOf(sandbox: Sandbox, signal: AbortSignal): Promise<Process> {
  if (sandbox.result) {
    throw new SkerryError('stdin-closed', sandboxEnded(sandbox).message);
  }
  await sandbox.waitUntilRunning(signal);
  if (!sandbox.entrypoint) {
    throw new SkerryError('stdin-closed', 'The sandbox has no program of its own to write to.');
  }
  return sandbox.entrypoint;
}

export interface InputWrite {
  readonly offset: number;
  readonly data: Uint8Array;
  readonly eof: boolean;
}

/** A replay has an old offset, and the end of input may come with any: JavaScript sends offset 0 for it whatever was written. */
export async function writeInput(
  sandbox: Sandbox,
  process: Process,
  { offset, data, eof }: InputWrite,
  signal: AbortSignal,
): Promise<void> {
  sandbox.touch();
  if (data.length > 0) await process.writeStdin(offset, data, signal);
  if (eof) await process.closeStdin(signal);
}
