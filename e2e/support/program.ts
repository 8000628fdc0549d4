/** Runs client programs and records when each line came. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { patient } from './slowness.ts';

export interface OutputLine {
  readonly stream: 'stdout' | 'stderr';
  readonly text: string;
  /** Milliseconds since the program was started, by this process's monotonic clock. */
  readonly atMs: number;
}

export interface ProgramResult {
  readonly code: number | null;
  readonly lines: readonly OutputLine[];
  readonly stdout: string;
  readonly stderr: string;
}

export interface ProgramOptions {
  readonly env: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** Then it is killed; 5 minutes by default. */
  readonly timeoutMs?: number;
  readonly input?: string;
}

/** Runs a program to its end, whatever its exit code. */
export async function runProgram(
  argv: readonly [string, ...string[]],
  { env, cwd, timeoutMs = 300_000, input }: ProgramOptions,
): Promise<ProgramResult> {
  const [file, ...args] = argv;
  const started = performance.now();
  const child = spawn(file, args, {
    cwd,
    env,
    stdio: ['pipe', 'pipe', 'pipe'],
    timeout: patient(timeoutMs),
    killSignal: 'SIGKILL',
  });
  child.stdin.on('error', () => {}); // a program need not read its input
  child.stdin.end(input ?? '');
  const lines: OutputLine[] = [];
  for (const stream of ['stdout', 'stderr'] as const) {
    createInterface({ input: child[stream] }).on('line', (text) => {
      lines.push({ stream, text, atMs: performance.now() - started });
    });
  }
  const [code] = await once(child, 'close');
  const text = (stream: OutputLine['stream']) =>
    lines
      .filter((line) => line.stream === stream)
      .map((line) => line.text)
      .join('\n');
  return { code, lines, stdout: text('stdout'), stderr: text('stderr') };
}
