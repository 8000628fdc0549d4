/** Starts the server as a daemon or in the foreground, and stops it. */
import { type ChildProcess, spawn } from 'node:child_process';
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  statfsSync,
  statSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import {
  type Config,
  instanceName,
  nodeFlags,
  run,
  sandboxesUnit,
  serverScope,
  supervisorBinaryPath,
} from '../../server/src/operator.ts';
import { CliError } from './cli-error.ts';
import {
  findRunningServer,
  isServerProcess,
  logFile,
  readyLineSchema,
  removeServerState,
  type ServerState,
  writeServerState,
} from './server-state.ts';
import { hasSystemd } from './systemd.ts';
import { waitUntil } from './wait-until.ts';

const START_TIMEOUT_MS = 120_000;
const STOP_TIMEOUT_MS = 60_000;
const DESTROY_TIMEOUT_MS = 300_000;
/** A log beyond this is put aside as `server.log.1` at the next start. */
const LOG_BYTES = 16 << 20;

const serverMain = (): string => fileURLToPath(new URL('../../server/src/main.ts', import.meta.url));

/** The server under the supervisor that holds its port: clients do not notice a restart, and a crash is followed by one. */
function supervised({ host, port }: Config, flags: readonly string[]): [string, string[]] {
  return [
    supervisorBinaryPath(),
    [host, String(port), process.execPath, ...nodeFlags, serverMain(), ...flags],
  ];
}

/**
 * Puts a command into a systemd scope of its own, where there is systemd: the scope of the login session that it would be in otherwise may be ended with the
 * session. systemd-run becomes the command, so its process id, environment and descriptors stay.
 */
function outOfSession(dataDir: string, [program, args]: [string, string[]]): [string, string[]] {
  if (!hasSystemd()) return [program, args];
  const instance = instanceName(dataDir);
  const scope = [
    ...['--scope', '--quiet', '--collect', `--unit=${serverScope(instance)}`, '--slice=system.slice'],
    ...['--description=Skerry', '--property=TasksMax=infinity'],
    // Stopped before the sandboxes at a shutdown; `cgroup-place.ts` says why that is told here.
    `--property=After=${sandboxesUnit(instance)}`,
  ];
  return ['systemd-run', [...scope, program, ...args]];
}

/** @throws CliError when something else listens there */
export function checkPortIsFree(host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.once('error', (error: NodeJS.ErrnoException) => {
      const why =
        error.code === 'EADDRINUSE'
          ? `Port ${port} on ${host} is in use by another program. Stop it, or choose another port with --port (0 takes a free one).`
          : `Cannot listen on ${host} port ${port}: ${error.message}`;
      reject(new CliError(why));
    });
    probe.listen(port, host, () => probe.close(() => resolve()));
  });
}

function parseReadyLine(line: string) {
  if (!line.startsWith('{')) return undefined;
  try {
    return readyLineSchema.safeParse(JSON.parse(line)).data;
  } catch {
    return undefined;
  }
}

const readyLineIn = (log: Buffer) => log.toString('utf8').split('\n').map(parseReadyLine).find(Boolean);

const withFlags = (
  ready: NonNullable<ReturnType<typeof parseReadyLine>>,
  flags: readonly string[],
): ServerState => ({
  ...ready,
  flags: [...flags],
  startedAt: new Date().toISOString(),
});

/**
 * Starts a server that outlives this process; its output goes to `server.log`. Standard output goes there too, since a pipe to this
 * process would break when it ends.
 * @throws CliError with the server's own words when it ends or is not ready in time
 */
export async function startDaemon(config: Config, flags: readonly string[]): Promise<ServerState> {
  const { dataDir } = config;
  mkdirSync(dataDir, { recursive: true, mode: 0o700 });
  const log = logFile(dataDir);
  if (existsSync(log) && statSync(log).size > LOG_BYTES) renameSync(log, `${log}.1`);
  const fd = openSync(log, 'a', 0o600);
  const from = statSync(log).size;
  let child: ChildProcess;
  try {
    const [program, args] = outOfSession(dataDir, supervised(config, flags));
    child = spawn(program, args, { detached: true, stdio: ['ignore', fd, fd] });
  } finally {
    closeSync(fd);
  }
  let ended: string | undefined;
  child.once('error', (error) => {
    ended = error.message;
  });
  child.once('exit', (code, signal) => {
    ended = signal === null ? `it ended with status ${code}` : `it was ended by ${signal}`;
  });
  const written = () => readFileSync(log).subarray(from);
  const outcome = await waitUntil('starting the server', START_TIMEOUT_MS, () => {
    return readyLineIn(written()) ?? ended;
  });
  if (typeof outcome === 'object') {
    const state = withFlags(outcome, flags);
    writeServerState(dataDir, state);
    child.unref();
    return state;
  }
  child.kill('SIGKILL');
  const words = explain(written().toString('utf8').split('\n'));
  const why = outcome ?? `it was not ready within ${START_TIMEOUT_MS / 1000} s`;
  throw new CliError(`The server did not start: ${words || noRoomFor(log) || why}\nIts log: ${log}`);
}

/** Why a log may lack the server's last words. */
const noRoomFor = (log: string): string | undefined =>
  statfsSync(log).bavail === 0 ? 'there is no room left on the disk of its data directory.' : undefined;

/** The end of a log for a reader: what the server said to the user, or else its last lines, structured ones by their message. */
function explain(lines: readonly string[]): string {
  const said = lines.findLastIndex((line) => line.startsWith('skerry: '));
  if (said >= 0) return lines.slice(said).join('\n').replace('skerry: ', '').trim();
  const texts = lines
    .filter((line) => line.trim() !== '')
    .slice(-20)
    .map((line) => {
      try {
        const { msg, err } = JSON.parse(line);
        return [msg, err?.message].filter(Boolean).join(': ');
      } catch {
        return line;
      }
    });
  return texts.join('\n');
}

/** Runs the server as a child that shares this terminal, until it ends. Resolves with its exit status. */
export async function runForeground(
  config: Config,
  flags: readonly string[],
  onReady: (state: ServerState) => void,
): Promise<number> {
  const { dataDir } = config;
  mkdirSync(dataDir, { recursive: true, mode: 0o700 });
  const [program, args] = supervised(config, flags);
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  const ignoreInterrupt = () => {}; // the terminal sends it to the server as well, which ends gracefully
  const forward = () => child.kill('SIGTERM');
  process.on('SIGINT', ignoreInterrupt).on('SIGTERM', forward);
  try {
    createInterface({ input: child.stdout }).on('line', (line) => {
      const ready = parseReadyLine(line);
      if (!ready) return void process.stdout.write(`${line}\n`);
      const state = withFlags(ready, flags);
      writeServerState(dataDir, state);
      onReady(state);
    });
    return await new Promise((resolve, reject) => {
      child.once('error', reject);
      child.once('exit', (code) => resolve(code ?? 1));
    });
  } finally {
    process.off('SIGINT', ignoreInterrupt).off('SIGTERM', forward);
    removeServerState(dataDir);
  }
}

/** Has the supervisor end the server gracefully and start it again. @throws CliError when there is no supervisor, or the server does not come back */
export async function restartServer(dataDir: string, state: ServerState): Promise<ServerState> {
  if (state.pid === state.serverPid) {
    throw new CliError('The server runs without its supervisor: use `skerry down --keep` and `skerry up`.');
  }
  const log = logFile(dataDir);
  const from = existsSync(log) ? statSync(log).size : 0;
  process.kill(state.pid, 'SIGHUP');
  const look = () => {
    const logged = existsSync(log) ? readyLineIn(readFileSync(log).subarray(from)) : undefined;
    if (logged) return logged;
    // One in the foreground does not write that line to a log: whoever started it notes the new server.
    const noted = findRunningServer(dataDir);
    return noted && noted.serverPid !== state.serverPid ? noted : undefined;
  };
  const ready = await waitUntil('restarting the server', STOP_TIMEOUT_MS + START_TIMEOUT_MS, look);
  if (!ready) throw new CliError(`The server did not come back. Its log: ${log}`);
  const restarted = withFlags(ready, state.flags);
  writeServerState(dataDir, restarted);
  return restarted;
}

/** Stops a running server; its sandboxes go on. @throws CliError when it cannot be stopped */
export async function stopServer(dataDir: string, state: ServerState): Promise<void> {
  const gone = () => (isServerProcess(state.pid) ? undefined : true);
  const signal = (name: 'SIGTERM' | 'SIGKILL') => {
    try {
      process.kill(state.pid, name);
    } catch (error) {
      // The cast names what process.kill throws.
      const { code, message } = error as NodeJS.ErrnoException;
      if (code !== 'ESRCH') throw new CliError(`Cannot stop the server (process ${state.pid}): ${message}`);
    }
  };
  signal('SIGTERM');
  if (!(await waitUntil('stopping the server', STOP_TIMEOUT_MS, gone))) {
    process.stderr.write(`The server did not stop within ${STOP_TIMEOUT_MS / 1000} s; it is killed.\n`);
    signal('SIGKILL');
    await waitUntil('killing the server', STOP_TIMEOUT_MS, gone);
  }
  removeServerState(dataDir);
}

/** Ends every sandbox that is left and takes Skerry off the machine. No server may run on the data directory. */
export async function destroyAll(flags: readonly string[]): Promise<void> {
  // The server's flags and variables hold where its data is; it needs the environment to find both.
  const env = Object.fromEntries(
    Object.entries(process.env).flatMap(([key, value]) => (value === undefined ? [] : [[key, value]])),
  );
  await run([process.execPath, serverMain(), '--destroy-all', ...flags], {
    env,
    timeoutMs: DESTROY_TIMEOUT_MS,
  });
}
