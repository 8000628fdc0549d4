/** A server of a test's own: real process, real sandboxes, a data directory in the system's temporary directory. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { readToken, readyLineSchema } from '../../cli/src/server-state.ts';
import { clientEnvironment } from '../../connect/src/environment.ts';
import { supervisorBinaryPath } from '../../server/src/agent/agent-binary.ts';
import type { TokenFile } from '../../server/src/auth/token-file.ts';
import { findExtraCaFile } from '../../server/src/config/extra-ca.ts';
import { run } from '../../server/src/platform/command.ts';
import { nodeFlags } from '../../server/src/platform/node-flags.ts';
import { delay } from '../../server/src/platform/wait.ts';
import { inventory } from './inventory.ts';
import { giveImages, sharedDataDir } from './shared-data.ts';
import { patient } from './slowness.ts';

/** The root of the clone. */
export const projectRoot = fileURLToPath(new URL('../..', import.meta.url));

const serverMain = join(projectRoot, 'server/src/main.ts');
const START_TIMEOUT_MS = patient(120_000);
const STOP_TIMEOUT_MS = patient(60_000);
const DESTROY_TIMEOUT_MS = patient(120_000);

export interface ServerOptions {
  /**
   * runc by default, which is there on every machine and whose starts take a fifth of the processor time of gVisor's: what is not about what runs a sandbox need not wait for that one. What is runs under each of
   * `runtimesToTest`.
   */
  readonly runtime?: 'gvisor' | 'runc' | 'auto';
  /** How many sandboxes may wait for somebody; none by default: what is on the machine follows from what a test does, and costs no more. */
  readonly warmPool?: number;
  /** More flags of the server, as on its command line. */
  readonly flags?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /**
   * By default servers of a test run share data directories, one after the other (`sharedDataDir`). True gives this server an empty one, which `stop`
   * removes.
   */
  readonly freshData?: boolean;
  /** A data directory that the test made and removes itself; while it is empty it is given the images of most tests. */
  readonly dataDir?: string;
  /** It shares data directory and database with another, whose sandboxes are there already. */
  readonly beside?: TestServer;
  /** The program of the server; another than this one's. */
  readonly main?: string;
  /** Where its log goes; a file in its data directory by default. */
  readonly logFile?: string;
}

export interface TestServer {
  readonly url: string;
  readonly pid: number;
  readonly dataDir: string;
  readonly token: TokenFile;
  /** The environment for a client program: PATH, an empty HOME, and what `skerry env` prints. */
  readonly clientEnv: Record<string, string>;
  /** What the server wrote to its log so far. */
  log(): string;
  /** Lines of it that tell of errors. */
  errors(): string[];
  /** Kills the server's process as a crash would, and keeps its supervisor from noticing until `restart`; sandboxes go on. */
  kill9(): Promise<void>;
  /** Ends the server and its supervisor as the end of a machine would. */
  lose(): Promise<void>;
  /** Lets the supervisor end the server gracefully and start it again. */
  restartGracefully(): Promise<void>;
  /** SIGTERM; sandboxes go on. @throws when it does not exit with status 0 */
  terminate(): Promise<void>;
  /** Has it started again on the same data, port and flags, after `kill9` or `terminate`. */
  restart(): Promise<void>;
  /** Ends the server and every sandbox, and asserts that nothing is left on the machine. */
  stop(): Promise<void>;
}

/** Starts a server on a free port. `stop` it in an `after` hook. */
export async function startServer(options: ServerOptions = {}): Promise<TestServer> {
  const { main = serverMain } = options;
  const shared =
    options.beside?.dataDir ?? options.dataDir ?? (options.freshData ? undefined : await sharedDataDir());
  const dataDir = shared ?? mkdtempSync(join(tmpdir(), 'e2e-data-'));
  if (!options.freshData && !options.beside) await giveImages(dataDir);
  if (!options.beside)
    assert.deepEqual(
      await inventory(dataDir),
      [],
      'the machine has something of this server before it starts',
    );
  // The server finds it as well, but not what the developer's shell says to Skerry itself (`definedEnvironment`).
  const ca = findExtraCaFile(process.env);
  const flags = [
    ...['--data-dir', dataDir, '--log-level', 'info'],
    ...['--runtime', options.runtime ?? 'runc'],
    ...(ca ? ['--extra-ca-file', ca] : []),
    ...['--warm-pool', String(options.warmPool ?? 'off')],
    ...(options.flags ?? []),
  ];
  const home = mkdtempSync(join(tmpdir(), 'e2e-home-'));
  const env = { ...definedEnvironment(), XDG_CONFIG_HOME: home, XDG_STATE_HOME: home, ...options.env };
  const logPath = options.logFile ?? join(options.beside ? home : dataDir, 'e2e.log');

  const logStart = existsSync(logPath) ? statSync(logPath).size : 0;
  const tidyUp = () => {
    rmSync(home, { recursive: true, force: true });
    if (shared === undefined) rmSync(dataDir, { recursive: true, force: true });
  };
  let { child, ready } = await launch('0', main, flags, env, logPath).catch((error: unknown) => {
    tidyUp();
    throw error;
  });
  const port = new URL(ready.url).port;
  const token = readToken(dataDir);

  const log = () => readFileSync(logPath).subarray(logStart).toString('utf8');
  const hasEnded = () => child.exitCode !== null || child.signalCode !== null;
  const ended = async (signal: 'SIGKILL' | 'SIGTERM') => {
    if (hasEnded()) return;
    const exit = once(child, 'exit', { signal: AbortSignal.timeout(STOP_TIMEOUT_MS) });
    child.kill('SIGCONT'); // a stopped one would not take the signal
    child.kill(signal);
    await exit;
  };
  return {
    get url() {
      return ready.url;
    },
    get pid() {
      return ready.serverPid;
    },
    dataDir,
    token,
    clientEnv: { ...clientPathEnvironment(home), ...clientEnvironment(ready.url, token, {}) },
    log,
    errors: () =>
      log()
        .split('\n')
        .filter((line) => line.includes('"level":"error"')),
    kill9: async () => {
      child.kill('SIGSTOP');
      process.kill(ready.serverPid, 'SIGKILL');
      await untilDead(ready.serverPid);
    },
    lose: async () => {
      await ended('SIGKILL');
      if (options.beside) tidyUp(); // what is on the machine is for the others
    },
    restartGracefully: async () => {
      const from = statSync(logPath).size;
      child.kill('SIGHUP');
      ready = await untilReady(child, logPath, from);
    },
    terminate: async () => {
      await ended('SIGTERM');
      assert.equal(child.exitCode, 0, `the server did not end well:\n${logTail(logPath)}`);
    },
    restart: async () => {
      if (hasEnded()) {
        ({ child, ready } = await launch(port, main, flags, env, logPath));
        return;
      }
      const from = statSync(logPath).size;
      child.kill('SIGCONT');
      ready = await untilReady(child, logPath, from);
    },
    stop: async () => {
      try {
        await ended('SIGTERM').catch(() => ended('SIGKILL'));
        await run([process.execPath, serverMain, '--destroy-all', ...flags], {
          env,
          timeoutMs: DESTROY_TIMEOUT_MS,
        });
        assert.deepEqual(await settledInventory(dataDir), [], 'left on the machine');
      } finally {
        tidyUp();
      }
    },
  };
}

/** The kernel frees namespaces and cgroups a moment after the last process: what is still there is looked at again for two seconds. */
export async function settledInventory(dataDir: string): Promise<string[]> {
  for (let attempt = 0; attempt < 20; attempt++) {
    const left = await inventory(dataDir);
    if (left.length === 0) return left;
    await delay(100);
  }
  return inventory(dataDir);
}

async function launch(
  port: string,
  main: string,
  flags: readonly string[],
  env: Record<string, string>,
  logPath: string,
) {
  const log = openSync(logPath, 'a', 0o600);
  const from = statSync(logPath).size;
  const server = [process.execPath, ...nodeFlags, main, ...flags, '--port', port];
  const child: ChildProcess = spawn(supervisorBinaryPath(), ['127.0.0.1', port, ...server], {
    stdio: ['ignore', log, log],
    env,
  });
  closeSync(log);
  return { child, ready: await untilReady(child, logPath, from) };
}

/** The line a server prints when it is ready, written after byte `from` of its log. */
async function untilReady(child: ChildProcess, logPath: string, from: number) {
  const deadline = performance.now() + START_TIMEOUT_MS;
  for (;;) {
    const ready = readFileSync(logPath)
      .subarray(from)
      .toString('utf8')
      .split('\n')
      .map(parseReady)
      .find(Boolean);
    if (ready) return ready;
    if (child.exitCode !== null || child.signalCode !== null || performance.now() > deadline) {
      child.kill('SIGKILL');
      throw new Error(`the server did not start:\n${logTail(logPath)}`);
    }
    await delay(50);
  }
}

/** Waits until a process runs no more; its parent may not have asked for its status yet. */
export async function untilDead(pid: number): Promise<void> {
  const deadline = performance.now() + STOP_TIMEOUT_MS;
  while (performance.now() < deadline) {
    const state = existsSync(`/proc/${pid}`)
      ? /\) (.)/.exec(readFileSync(`/proc/${pid}/stat`, 'utf8'))?.[1]
      : 'Z';
    if (state === 'Z') return;
    await delay(10);
  }
  throw new Error(`process ${pid} does not die`);
}

function parseReady(line: string) {
  if (!line.startsWith('{"ready"')) return undefined;
  return readyLineSchema.parse(JSON.parse(line));
}

const logTail = (path: string): string => readFileSync(path, 'utf8').split('\n').slice(-30).join('\n');

/** This process's environment without the variables of servers and clients. */
export function definedEnvironment(): Record<string, string> {
  return Object.fromEntries(
    Object.entries(process.env).flatMap(([name, value]) =>
      // The variables of a server or a client that the developer's shell points at must not leak into a test.
      value === undefined || /^(MODAL|MODBOX|SANDBOX|SKERRY)_/.test(name) ? [] : [[name, value]],
    ),
  );
}

/** What a client program needs besides the token: tools, the machine's CA settings, and what has Python take less of the processor. Its `~/.modal.toml` is nobody's. */
function clientPathEnvironment(home: string): Record<string, string> {
  const { PATH = '', SSL_CERT_FILE, NODE_EXTRA_CA_CERTS } = process.env;
  return {
    PATH,
    HOME: home,
    PYTHONPATH: join(projectRoot, 'e2e/support/python'),
    ...(SSL_CERT_FILE ? { SSL_CERT_FILE } : {}),
    ...(NODE_EXTRA_CA_CERTS ? { NODE_EXTRA_CA_CERTS } : {}),
  };
}
