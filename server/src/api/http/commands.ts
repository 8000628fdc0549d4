/** Commands in a sandbox: how a request becomes a process, and how its end becomes an answer. */
import { SkerryError } from '../../errors/skerry-error.ts';
import type { ProcessId } from '../../ids.ts';
import { withDeadline } from '../../platform/wait.ts';
import { GUEST_FS_TOOLS } from '../../sandboxes/guest-paths.ts';
import type { Process, Sandbox } from '../../sandboxes/sandboxes.ts';
import type { ExecSpec } from '../../sandboxes/spec.ts';
import type { ProcessExit } from '../../sandboxes/state.ts';
import { sandboxEnded } from './error-answers.ts';
import type { CommandRequest } from './fields.ts';

/** Bash where the image has it, since that is what people write; every image with a shell at all has the second. */
const shells = ['/bin/bash', '/bin/sh'] as const;
const STDIN_CHUNK_BYTES = 256 << 10;
/** How long a call waits for a sandbox that is still starting. */
const START_PATIENCE_MS = 10_000;
/** How long after its processes a sandbox's result may come. */
const RESULT_PATIENCE_MS = 5_000;
export const SIGKILL = 9;

/** @throws SkerryError `not-ready` while it is starting, `sandbox-ended` saying why, also while it is being ended */
export async function requireRunning(
  sandbox: Sandbox,
  signal: AbortSignal,
  patienceMs = START_PATIENCE_MS,
): Promise<void> {
  try {
    const running = await withDeadline(
      sandbox.waitUntilRunning(signal).then(() => true),
      patienceMs,
      signal,
    );
    if (!running) throw new SkerryError('not-ready', 'The sandbox is still starting.');
  } catch (error) {
    throw await toldWhy(error, sandbox, signal);
  }
  // One that ran once has been waited for, whatever became of it.
  if (sandbox.state !== 'running' && sandbox.state !== 'suspended') throw await endedError(sandbox, signal);
}

/** The error of a call to a sandbox that ended, or is being ended: then its result comes a moment later. */
export async function endedError(sandbox: Sandbox, signal: AbortSignal, when = ''): Promise<SkerryError> {
  return sandboxEnded(sandbox.result ?? (await sandbox.wait(RESULT_PATIENCE_MS, signal)), when);
}

/** `error`, or in the place of the domain's own word that the sandbox ended this interface's, with the reason. */
export async function toldWhy(
  error: unknown,
  sandbox: Sandbox,
  signal: AbortSignal,
  when = '',
): Promise<unknown> {
  const ended = error instanceof SkerryError && error.code === 'sandbox-ended';
  return ended ? endedError(sandbox, signal, when) : error;
}

/** Does what needs a sandbox that runs. @throws as `requireRunning`; what `work` throws, as `toldWhy` tells it */
export async function whileRunning<T>(
  sandbox: Sandbox,
  signal: AbortSignal,
  work: () => Promise<T>,
): Promise<T> {
  await requireRunning(sandbox, signal);
  try {
    return await work();
  } catch (error) {
    throw await toldWhy(error, sandbox, signal, ' meanwhile');
  }
}

/** @throws SkerryError as `Sandbox.exec`, naming the request's field at fault */
export async function startCommand(
  sandbox: Sandbox,
  id: ProcessId,
  request: CommandRequest,
  signal: AbortSignal,
  more: Partial<Pick<ExecSpec, 'secretSources' | 'pty'>> = {},
): Promise<Process> {
  await requireRunning(sandbox, signal);
  const { argv, command = '' } = request;
  const candidates = argv ? [argv] : shells.map((shell) => [shell, '-c', command]);
  for (const [index, candidate] of candidates.entries()) {
    try {
      return await sandbox.exec(id, { ...execSpec(candidate, request), ...more }, signal);
    } catch (error) {
      const missing = error instanceof SkerryError && error.code === 'program-not-found';
      if (missing && index + 1 < candidates.length) continue;
      throw await toldWhy(withField(error, argv ? 'argv' : 'command'), sandbox, signal);
    }
  }
  throw new SkerryError('internal', 'unreachable: every command has a candidate');
}

function execSpec(
  argv: readonly string[],
  request: Pick<CommandRequest, 'env' | 'cwd' | 'timeoutMs'>,
): ExecSpec {
  return {
    argv,
    secretSources: [{ kind: 'inline', env: request.env }],
    workdir: request.cwd,
    timeoutMs: request.timeoutMs,
    pty: undefined,
    stdout: 'pipe',
    stderr: 'pipe',
  };
}

function withField(error: unknown, commandField: string): unknown {
  if (!(error instanceof SkerryError)) return error;
  switch (error.code) {
    case 'program-not-found':
    case 'program-not-executable':
      return new SkerryError(error.code, error.message, { cause: error, details: { path: commandField } });
    case 'bad-workdir':
      return new SkerryError(error.code, error.message, { cause: error, details: { path: 'cwd' } });
    default:
      return error;
  }
}

/** Writes the whole text and closes the input, unless it is to stay open. A program that stops reading before the end is not an error. */
export async function feedStdin(
  process: Process,
  text: string,
  signal: AbortSignal,
  keepOpen = false,
): Promise<void> {
  const bytes = Buffer.from(text);
  try {
    for (let offset = 0; offset < bytes.length; offset += STDIN_CHUNK_BYTES) {
      await process.writeStdin(offset, bytes.subarray(offset, offset + STDIN_CHUNK_BYTES), signal);
    }
    if (!keepOpen) await process.closeStdin(signal);
  } catch (error) {
    if (!(error instanceof SkerryError) || !['stdin-closed', 'sandbox-ended'].includes(error.code))
      throw error;
  }
}

/**
 * A process that was killed because its sandbox ended did not fail by itself: its caller is told why the sandbox ended.
 * @param isMain whether it is the sandbox's main program, with whose own end the sandbox ends
 * @throws SkerryError `sandbox-ended`
 */
export async function rejectIfSandboxEnded(
  sandbox: Sandbox,
  exit: ProcessExit,
  signal: AbortSignal,
  isMain = false,
): Promise<void> {
  const killed = exit.kind === 'signal' && exit.signal === SIGKILL && !exit.timedOut;
  if (!killed || sandbox.state === 'running') return;
  if (isMain && (await sandbox.wait(RESULT_PATIENCE_MS, signal))?.kind === 'exited') return;
  throw await endedError(sandbox, signal, ' while the command ran');
}

/** Whether it is none of the caller's, but the helper that file calls are made with. */
export const isFileHelper = ({ argv }: Process): boolean => argv[0] === GUEST_FS_TOOLS;

/** Sends a signal to a process and everything it started; no effect on one that ended. */
export async function signalGroup(process: Process, signal: number): Promise<void> {
  if (process.exit === undefined) await process.kill(signal, 'group');
}
