/**
 * Has a program of this machine (`skerry-trees`) talk with the agent's program `files` in a sandbox that nobody sees into from outside. What passes between them is
 * in `agent/PROTOCOL.md`, "Files".
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { GUEST_AGENT } from '../engines/paths.ts';
import { SkerryError } from '../errors/skerry-error.ts';
import { newProcessId } from '../ids.ts';
import { baseEnvironment } from '../platform/command.ts';
import type { AgentClient } from './agent-client.ts';
import type { ProcessChannel, ProcessSink } from './process-channel.ts';
import { forgetProgram } from './run-to-exit.ts';

/** As long as any copy may take. */
const TIMEOUT_MS = 30 * 60_000;
/** What the program here says is kept in memory until the other one has taken it. */
const AHEAD_BYTES = 2 ** 20;

export interface Conversation {
  /** The program of this machine with its arguments. */
  readonly program: readonly [string, ...string[]];
  /** Arguments of the agent's. */
  readonly files: readonly string[];
  /** What the program's exit code says, with its words. */
  readonly failure: (code: number | null, words: string) => SkerryError;
}

/** Resolves when the program ended well. @throws SkerryError what `failure` gives, `deadline-exceeded` after half an hour; what the agent throws; the signal's reason */
export async function converse(
  agent: AgentClient,
  { program: [command, ...args], files, failure }: Conversation,
  signal: AbortSignal,
): Promise<void> {
  const program = spawn(command, args, { env: baseEnvironment(), stdio: 'pipe' });
  program.stdin.on('error', () => {}); // its status tells
  const words = text(program.stderr);
  const ended = once(program, 'close');
  ended.catch(() => {}); // awaited below
  const either = AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)]);
  const kill = () => program.kill('SIGKILL');
  either.addEventListener('abort', kill, { once: true });
  const id = newProcessId();
  const taken = { stdout: 0, stderr: 0 };
  let lost: SkerryError | undefined;
  const sink: ProcessSink = {
    write: (stream, offset, chunk) => {
      taken[stream] = offset + chunk.length;
      return program.stdin.write(chunk) ? undefined : drained();
    },
    eof: (stream) => void (stream === 'stdout' && program.stdin.end()),
    exit: () => {},
    lost: (error) => {
      lost = error;
      kill();
    },
  };
  // One that ended takes no more.
  const drained = () => Promise.race([once(program.stdin, 'drain'), ended]).then(() => undefined);
  let helper: ProcessChannel | undefined;
  try {
    helper = await agent.start(
      {
        ...{ id, argv: [GUEST_AGENT, 'files', ...files], env: {}, cwd: '/', timeoutMs: TIMEOUT_MS },
        ...{ stdin: 'pipe', stdout: 'pipe', stderr: 'null' },
      },
      sink,
      either,
    );
    passOn(program.stdout, helper);
    const [code] = await ended;
    either.throwIfAborted();
    if (lost) throw lost;
    if (code !== 0) throw failure(code, await words);
  } catch (error) {
    signal.throwIfAborted();
    throw either.aborted
      ? new SkerryError('deadline-exceeded', 'The copy of the files took longer than half an hour.')
      : error;
  } finally {
    kill();
    either.removeEventListener('abort', kill);
    await ended.catch(() => {});
    helper?.detach();
    void forgetProgram(agent, id, taken).catch(() => {}); // the sandbox is gone, or will be
  }
}

function passOn(said: Readable, helper: ProcessChannel): void {
  let offset = 0;
  let waiting = 0;
  said.on('data', (chunk: Buffer) => {
    waiting += chunk.length;
    if (waiting > AHEAD_BYTES) said.pause();
    helper
      .writeStdin(offset, chunk)
      .catch(() => {}) // its output ends, which tells
      .finally(() => {
        waiting -= chunk.length;
        if (waiting <= AHEAD_BYTES) said.resume();
      });
    offset += chunk.length;
  });
}
