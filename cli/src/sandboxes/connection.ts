/** How the commands that work in sandboxes reach them: by the SDK, with this machine's server or the one that the environment names. */
import type { Command } from 'commander';
import {
  type ConnectionOptions,
  type Fetch,
  NotFoundError,
  Sandbox,
  SkerryError,
} from '../../../sdk/src/index.ts';
import { CliError, ExitStatus } from '../cli-error.ts';
import { addDataDirOptions, dataDirOf } from '../data-dir.ts';
import { readToken, requireRunningServer } from '../server-state.ts';
import { leanFetch } from './lean-fetch.ts';

/** Where `runStatus` differs from the program's own exit status. */
export const RunStatus = {
  timedOut: 124,
  failed: 125,
  notExecutable: 126,
  notFound: 127,
  killed: 137,
} as const;

export const RUN_STATUS_HELP = `
Exit status: the program's own, 128+n when signal n ended it; 124 its time was over, 125 the sandbox could not be made or used,
126 the program cannot be executed, 127 it cannot be started, 137 it was killed, also for want of memory; 2 wrong usage,
3 the server is not running.`;

export const whichSandbox = 'its id or its name';
export const whichSandboxOrLast = 'its id or its name; when none of that name runs, the last that had it';

/** Adds what all of these commands have; `SKERRY_URL` and `SKERRY_TOKEN` stand for another machine's server. */
export const addConnectionOptions = (command: Command): Command => addDataDirOptions(command);

export interface ServerAccess {
  readonly url: string;
  /** `<id>:<secret>`. */
  readonly token: string;
  readonly fetch?: Fetch;
}

/** @throws CliError when there is no server */
export function connectionOf(command: Command): ServerAccess {
  const { SKERRY_URL: url, SKERRY_TOKEN: token } = process.env;
  if (url && token) return { url, token, fetch: leanFetch };
  return localServer(dataDirOf(command));
}

/** This machine's, whatever the environment names. @throws CliError when there is none */
export function localServer(dataDir: string): ServerAccess {
  const { url } = requireRunningServer(dataDir);
  const { tokenId, tokenSecret } = readToken(dataDir);
  return { url, token: `${tokenId}:${tokenSecret}`, fetch: leanFetch };
}

const isId = (which: string): boolean => /^sb-[0-9A-Za-z]+$/.test(which);

/** By id, or by the name of one that runs. @throws CliError, SkerryError */
export async function findSandbox(which: string, connection: ConnectionOptions): Promise<Sandbox> {
  if (isId(which)) return Sandbox.get(which, connection);
  const found = await runningNamed(which, connection);
  if (!found) throw new CliError(`No running sandbox is named ${which}. List them: skerry ls`);
  return found;
}

/** As `findSandbox`; where none of that name runs, the last that had it, for as long as the server knows of it. @throws CliError, SkerryError */
export async function findSandboxOrLast(which: string, connection: ConnectionOptions): Promise<Sandbox> {
  const running = isId(which)
    ? await Sandbox.get(which, connection).catch((error: unknown) => {
        if (!(error instanceof NotFoundError)) throw error;
      })
    : await runningNamed(which, connection);
  if (running) return running;
  if (!isId(which)) {
    const all = Sandbox.list({ ...connection, includeEnded: true }); // newest first
    for await (const sandbox of all) if (sandbox.info.name === which) return sandbox;
  }
  throw new CliError(
    `Nothing is known of ${which}: there was none, or it ended so long ago that the server has forgotten it (--keep-output-hours).`,
  );
}

/** @throws CliError when there are several */
async function runningNamed(name: string, connection: ConnectionOptions): Promise<Sandbox | undefined> {
  const named: Sandbox[] = [];
  for await (const sandbox of Sandbox.list(connection)) if (sandbox.info.name === name) named.push(sandbox);
  const [first, second] = named;
  if (second) throw new CliError(`Several running sandboxes are named ${name}: use the id of one.`);
  return first;
}

/** A program and its arguments. What comes after the first word of a command is passed on as it is, so also the -- before them. */
export const programOf = ([first = '', ...more]: readonly string[]): readonly string[] =>
  first === '--' && more.length > 0 ? more : [first, ...more];

/** Has what the server says told as it is, without a stack. @param failed the status of a failure that is none of the program's */
export async function told<T>(work: () => Promise<T>, failed: number = ExitStatus.failed): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof CliError && error.exitStatus === ExitStatus.failed) {
      throw new CliError(error.message, failed);
    }
    if (!(error instanceof SkerryError)) throw error;
    throw new CliError(error.message, statusOf(error, failed));
  }
}

function statusOf(error: SkerryError, failed: number): number {
  if (failed === ExitStatus.failed) return failed;
  if (error.code === 'program-not-found') return RunStatus.notFound;
  if (error.code === 'program-not-executable') return RunStatus.notExecutable;
  if (error.reason === 'timeout' || error.reason === 'idle-timeout') return RunStatus.timedOut;
  if (error.reason === 'start-failed') return RunStatus.notFound;
  if (error.reason === 'out-of-memory') return RunStatus.killed;
  return failed;
}
