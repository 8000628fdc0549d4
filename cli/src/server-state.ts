/** What a data directory tells about its server: is it running, where, and with which token. */
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import * as z from 'zod/mini';
import { type TokenFile, tokenFilePath, tokenFileSchema } from '../../server/src/local-caller.ts';
import { CliError, ExitStatus } from './cli-error.ts';

/** The line that a server prints on standard output when it can be used. */
export const readyLineSchema = z.object({
  ready: z.literal(true),
  /** Where the command itself reaches it. */
  url: z.url(),
  /** What clients of this machine are told; older servers have only the one. */
  clientUrl: z.optional(z.url()),
  /** Whom to signal: the supervisor where there is one, else the server itself. */
  pid: z.int().check(z.positive()),
  serverPid: z.int().check(z.positive()),
  instance: z.string(),
  version: z.string(),
  /** What runs sandboxes that ask for no runtime; older servers do not tell. */
  isolation: z.optional(z.enum(['gvisor', 'runc'])),
  /** Of one that shares the directory with others: whether another answers for it. */
  standsBy: z.optional(z.boolean()),
});

const serverStateSchema = z.extend(readyLineSchema, {
  /** The flags it was started with: `down` cleans up with the same ones. */
  flags: z.array(z.string()),
  startedAt: z.iso.datetime(),
});

export type ServerState = z.infer<typeof serverStateSchema>;

/** What a command tells of a server that asks for JSON. */
export const serverAsJson = ({ url, pid, version, isolation }: ServerState) => ({
  ...{ url, pid, version, isolation: isolation ?? null },
});

export const logFile = (dataDir: string): string => join(dataDir, 'server.log');
const stateFile = (dataDir: string): string => join(dataDir, 'server.json');
/** Of a directory that servers on other machines have as well: its processes are this machine's. */
const ownStateFile = (dataDir: string): string =>
  join(dataDir, `server.${encodeURIComponent(hostname())}.json`);

export function writeServerState(dataDir: string, state: ServerState): void {
  const file = state.standsBy === undefined ? stateFile(dataDir) : ownStateFile(dataDir);
  writeFileSync(file, `${JSON.stringify(state, null, 2)}\n`, { mode: 0o600 });
}

export function removeServerState(dataDir: string): void {
  const file = [ownStateFile(dataDir), stateFile(dataDir)].find(existsSync);
  if (file !== undefined) rmSync(file);
}

/** How the last server on this data directory was started, whether or not it still runs. */
export function readServerState(dataDir: string): ServerState | undefined {
  const parsed = serverStateSchema.safeParse(readJson(ownStateFile(dataDir)) ?? readJson(stateFile(dataDir)));
  return parsed.success ? parsed.data : undefined;
}

/**
 * The server that runs on this data directory, or undefined. A process id alone proves nothing (it may have been given to
 * another program meanwhile), so the process's command line must be a server's.
 */
export function findRunningServer(dataDir: string): ServerState | undefined {
  const state = readServerState(dataDir);
  return state && isServerProcess(state.pid) ? state : undefined;
}

/** Whether a process is a Skerry server; a zombie is not. */
export function isServerProcess(pid: number): boolean {
  try {
    const argv = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
    return argv.some((word) => word.endsWith('/server/src/main.ts'));
  } catch {
    return false;
  }
}

/** @throws CliError when there is no server on this data directory */
export function requireRunningServer(dataDir: string): ServerState {
  const state = findRunningServer(dataDir);
  if (!state) {
    throw new CliError(
      `No server is running on ${dataDir}. Start one with: skerry up`,
      ExitStatus.notRunning,
    );
  }
  return state;
}

/** The token that the first start made. @throws CliError when it cannot be read */
export function readToken(dataDir: string): TokenFile {
  const path = tokenFilePath(dataDir);
  const parsed = tokenFileSchema.safeParse(readJson(path));
  if (!parsed.success) {
    throw new CliError(`${path} is missing, not readable by you, or not a token file.`);
  }
  return parsed.data;
}

function readJson(path: string): unknown {
  try {
    return JSON.parse(readFileSync(path, 'utf8'));
  } catch {
    return undefined;
  }
}
