/**
 * The one place that runs commands. Argument vectors only: no shell ever sees input. Output is bounded, every command has a
 * deadline, and a failure carries the program's own words.
 */
import { SkerryError } from '../errors/skerry-error.ts';
import { type OutputStream, ownChildren, type Starter } from './starter.ts';

export interface CommandOptions {
  readonly cwd?: string;
  /** The whole environment of the command; defaults to PATH and HOME of this process. */
  readonly env?: Readonly<Record<string, string>>;
  readonly input?: string | Uint8Array;
  /** Deadline in milliseconds, 60 s by default; then the command's process group is killed. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
  /** Exit codes besides 0 that are not failures. */
  readonly okCodes?: readonly number[];
  /** Called with each piece of output as it comes (both streams), for progress and build logs. What it throws ends the command and is thrown. */
  readonly onOutput?: (chunk: Buffer, stream: OutputStream) => void;
  /** Bytes of each stream kept, 4 MiB by default; the rest is dropped. */
  readonly maxOutputBytes?: number;
  /** `discard` gives the command /dev/null for both streams: for one that leaves a process behind, which would hold a pipe open. */
  readonly output?: 'collect' | 'discard';
}

export interface CommandResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** The environment commands get unless they ask for another: nothing that could carry a secret. */
export function baseEnvironment(): Record<string, string> {
  const {
    PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
    HOME = '/root',
    LANG = 'C.UTF-8',
  } = process.env;
  return { PATH: PATH.includes('/usr/sbin') ? PATH : `${PATH}:/usr/local/sbin:/usr/sbin:/sbin`, HOME, LANG };
}

/** What starts commands. A process has one, as it has one environment: it is no part of anything that a server is made of. */
let starter: Starter = ownChildren;

/** Has all commands of this process started by another from now on. */
export function startCommandsWith(chosen: Starter): void {
  starter = chosen;
}

/**
 * Runs a command to its end.
 * @throws SkerryError `internal` when it cannot be started, fails or exceeds its deadline; `details` has argv, code and the end of stderr.
 */
export async function run(
  argv: readonly [string, ...string[]],
  options: CommandOptions = {},
): Promise<CommandResult> {
  const { timeoutMs = 60_000, okCodes = [], maxOutputBytes = 4 << 20 } = options;
  options.signal?.throwIfAborted();
  const [file] = argv;
  let listenerFailed: { readonly error: unknown } | undefined;
  const output = { stdout: [] as Buffer[], stderr: [] as Buffer[] };
  const size = { stdout: 0, stderr: 0 };
  const command = starter.start({
    argv,
    cwd: options.cwd,
    env: options.env ?? baseEnvironment(),
    input: options.input,
    discardOutput: options.output === 'discard',
    onOutput: (chunk, stream) => {
      try {
        options.onOutput?.(chunk, stream);
      } catch (error) {
        listenerFailed ??= { error };
        command.kill();
      }
      if (size[stream] >= maxOutputBytes) return;
      output[stream].push(chunk);
      size[stream] += chunk.length;
    },
  });
  let timedOut = false;
  const timer = setTimeout(() => {
    timedOut = true;
    command.kill();
  }, timeoutMs);
  options.signal?.addEventListener('abort', command.kill, { once: true });
  try {
    const { code, signal } = await command.ended;
    options.signal?.throwIfAborted();
    if (listenerFailed) throw listenerFailed.error;
    const result = {
      code: code ?? -1,
      stdout: Buffer.concat(output.stdout).toString('utf8'),
      stderr: Buffer.concat(output.stderr).toString('utf8'),
    };
    if (code === 0 || (code !== null && okCodes.includes(code))) return result;
    const how = timedOut
      ? `did not finish within ${timeoutMs / 1000} s`
      : code === null
        ? `was ended by ${signal}`
        : `failed with status ${code}`;
    const words = result.stderr.trim().split('\n').slice(-5).join('\n');
    throw new SkerryError('internal', `${file} ${how}${words ? `: ${words}` : ''}`, {
      details: { argv, ...result },
    });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') {
      throw new SkerryError('internal', `${file} is not installed (or the working directory is missing)`, {
        cause: error,
        details: { argv },
      });
    }
    throw error;
  } finally {
    clearTimeout(timer);
    options.signal?.removeEventListener('abort', command.kill);
  }
}
