/** How a command is started: by this process itself, or by `launcher.ts` for it. What becomes of it is the same. */
import { spawn } from 'node:child_process';

export type OutputStream = 'stdout' | 'stderr';

export interface StartRequest {
  readonly argv: readonly [string, ...string[]];
  /** This process's own by default. */
  readonly cwd?: string | undefined;
  /** The whole environment; the program is looked for in its PATH. */
  readonly env: Readonly<Record<string, string>>;
  /** What the command reads; nothing at all by default. */
  readonly input?: string | Uint8Array | undefined;
  /** Gives the command /dev/null for both streams. */
  readonly discardOutput: boolean;
  /** Takes each piece of output, before `ended` resolves. It must not throw. */
  readonly onOutput: (chunk: Buffer, stream: OutputStream) => void;
}

/** How a command ended: one of the two is null. */
export interface Ending {
  readonly code: number | null;
  /** Its name. */
  readonly signal: string | null;
}

/** A command at the head of a process group of its own. */
export interface StartedCommand {
  /** Kills the whole process group. */
  kill(): void;
  /**
   * Resolves when the command has ended and nobody can write to its output any more.
   * @throws the error of `node:child_process`, with the code of the system, when it could not be started
   */
  readonly ended: Promise<Ending>;
}

export interface Starter {
  start(request: StartRequest): StartedCommand;
}

/** Starts commands as children of this process. */
export const ownChildren: Starter = {
  start({ argv: [file, ...args], cwd, env, input, discardOutput, onOutput }) {
    const out = discardOutput ? 'ignore' : 'pipe';
    const child = spawn(file, args, {
      cwd,
      env,
      stdio: [input === undefined ? 'ignore' : 'pipe', out, out],
      detached: true,
    });
    for (const stream of ['stdout', 'stderr'] as const)
      child[stream]?.on('data', (chunk: Buffer) => onOutput(chunk, stream));
    if (input !== undefined) {
      child.stdin?.on('error', () => {}); // the command may exit without reading its input; its status tells
      child.stdin?.end(input);
    }
    return {
      kill: () => killGroup(child.pid),
      ended: new Promise((resolve, reject) => {
        child.once('error', reject);
        child.once('close', (code, signal) => resolve({ code, signal }));
      }),
    };
  },
};

/** Kills a process group by the process at its head. */
export function killGroup(leader: number | undefined): void {
  if (leader === undefined) return;
  try {
    process.kill(-leader, 'SIGKILL');
  } catch {
    // already gone
  }
}
