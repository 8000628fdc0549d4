/** This terminal, or whatever stands at the command's standard streams, at a program in a sandbox. */
import { once } from 'node:events';
import type { Process, ProcessExit, Signal, TerminalSize } from '../../../sdk/src/index.ts';
import { RunStatus } from './connection.ts';

/** A second interrupt within that time is for us: the program does not listen to the first. */
const INSIST_MS = 2000;
const DEFAULT_SIZE: TerminalSize = { rows: 24, cols: 80 };

/** Undefined where there is no terminal at both ends. */
export function terminalSize(): TerminalSize | undefined {
  if (!process.stdin.isTTY || !process.stdout.isTTY) return undefined;
  return sizeNow();
}

function sizeNow(): TerminalSize {
  const { rows, columns: cols } = process.stdout;
  return rows > 0 && cols > 0 ? { rows, cols } : DEFAULT_SIZE;
}

export interface AttachOptions {
  /** Whether what comes at standard input is the program's; false = its input is at its end. */
  readonly input: boolean;
  /** The program has a terminal: keys go to it as they are, and Ctrl-C is one of them. */
  readonly terminal: boolean;
  /** Called when somebody insists on the end of it. */
  readonly onInsist: () => Promise<unknown>;
}

/** Passes input, signals and output on until the program's end. Gives what the command is to exit with. */
export async function attach(program: Process, options: AttachOptions): Promise<number> {
  await using last = new AsyncDisposableStack();
  last.defer(passSignals(program, options.onInsist));
  if (options.terminal) last.defer(useTerminal(program));
  const stopInput = options.input ? passInput(program) : undefined;
  if (stopInput) last.defer(stopInput);
  else void program.stdin.end().catch(() => {}); // it may have ended by now
  return statusOf(await passOutput(program));
}

export const statusOf = ({ exitCode, timedOut }: ProcessExit): number =>
  timedOut ? RunStatus.timedOut : exitCode;

async function passOutput(program: Process): Promise<ProcessExit> {
  const pieces = program.follow('both');
  for (;;) {
    const next = await pieces.next();
    if (next.done) return next.value;
    const { stream, bytes } = next.value;
    const to = process[stream];
    if (to.destroyed) {
      // Nobody reads it any more: what happens to a program whose pipe is closed.
      await program.kill('SIGKILL').catch(() => {});
      continue;
    }
    if (!to.write(bytes)) await Promise.race([once(to, 'drain'), once(to, 'close')]);
  }
}

function passInput(program: Process): () => void {
  const { stdin } = process;
  // Who stops reading, or has ended, is no failure of the command's.
  const onData = (chunk: Buffer) => {
    stdin.pause();
    program.stdin
      .write(chunk)
      .then(() => stdin.resume())
      .catch(() => {});
  };
  const onEnd = () => void program.stdin.end().catch(() => {});
  stdin.on('data', onData).once('end', onEnd).resume();
  return () => {
    stdin.off('data', onData).off('end', onEnd).pause();
    stdin.unref?.();
  };
}

function useTerminal(program: Process): () => void {
  const onResize = () => void program.resize(sizeNow()).catch(() => {});
  process.stdin.setRawMode?.(true);
  process.stdout.on('resize', onResize);
  return () => {
    process.stdout.off('resize', onResize);
    process.stdin.setRawMode?.(false);
  };
}

function passSignals(program: Process, onInsist: () => Promise<unknown>): () => void {
  let interruptedAt = Number.NEGATIVE_INFINITY;
  const handlers = (['SIGINT', 'SIGTERM', 'SIGHUP'] satisfies Signal[]).map((signal) => {
    const handler = () => {
      const now = performance.now();
      const insists = signal !== 'SIGINT' || now - interruptedAt < INSIST_MS;
      interruptedAt = now;
      const passed = program.kill(signal);
      void (insists ? passed.catch(() => {}).then(onInsist) : passed).catch(() => {});
    };
    process.on(signal, handler);
    return () => process.off(signal, handler);
  });
  return () => {
    for (const off of handlers) off();
  };
}
