/** Runs programs in an instance for tests of engines. */
import { randomUUID } from 'node:crypto';
import { AgentClient } from '../../agent/agent-client.ts';
import type { AgentExit } from '../../agent/frames.ts';
import { withDeadline } from '../../platform/wait.ts';
import { createLogger } from '../../telemetry/logger.ts';
import type { Instance } from '../engine.ts';

export interface GuestResult {
  /** Exit code, or minus the signal's number. */
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface GuestOptions {
  readonly user?: string;
  readonly stdin?: string;
  readonly onStdout?: (text: string) => void;
  /** 60 s by default. */
  readonly timeoutMs?: number;
}

/** @throws what the agent refuses with, or when the program has not ended in time or its sandbox dies. */
export async function runInGuest(
  instance: Instance,
  argv: readonly string[],
  options: GuestOptions = {},
): Promise<GuestResult> {
  const { timeoutMs = 60_000, stdin, user = '', onStdout } = options;
  const signal = AbortSignal.timeout(timeoutMs);
  const client = new AgentClient((abort) => instance.dial(abort), createLogger('silent'));
  const text = { stdout: '', stderr: '' };
  const over = Promise.withResolvers<AgentExit>();
  const streams = { stdout: Promise.withResolvers<void>(), stderr: Promise.withResolvers<void>() };
  const process = await client.start(
    {
      id: randomUUID(),
      argv,
      env: { PATH: '/bin', HOME: '/root' },
      cwd: '/',
      user,
      stdin: stdin === undefined ? 'null' : 'pipe',
      stdout: 'pipe',
      stderr: 'pipe',
    },
    {
      write: (stream, _offset, chunk) => {
        text[stream] += chunk.toString();
        if (stream === 'stdout') onStdout?.(chunk.toString());
        return undefined;
      },
      eof: (stream) => streams[stream].resolve(),
      exit: over.resolve,
      lost: over.reject,
    },
    signal,
  );
  try {
    if (stdin !== undefined) {
      await process.writeStdin(0, Buffer.from(stdin));
      await process.closeStdin();
    }
    const ended = Promise.all([over.promise, streams.stdout.promise, streams.stderr.promise]);
    const [exit] = (await withDeadline(ended, timeoutMs)) ?? [];
    if (!exit) throw new Error(`${argv.join(' ')} did not end within ${timeoutMs} ms`);
    process.release();
    return { ...text, code: exit.kind === 'code' ? exit.value : -exit.value };
  } finally {
    process.detach();
  }
}

/** Runs a shell script and returns its trimmed output. @throws when it fails. */
export async function shell(instance: Instance, script: string, options: GuestOptions = {}): Promise<string> {
  const { code, stdout, stderr } = await runInGuest(instance, ['sh', '-c', script], options);
  if (code !== 0) throw new Error(`status ${code} of ${script}\n${stdout}${stderr}`);
  return stdout.trim();
}
