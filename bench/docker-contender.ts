/** Docker, with a daemon of the bench's own: its own socket and data; a bridge and firewall rules only in a network namespace of the bench's, so nothing of it stays. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdirSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { run } from '../server/src/platform/command.ts';
import { findProgram } from '../server/src/platform/find-program.ts';
import { delay } from '../server/src/platform/wait.ts';
import { type ContainerCommand, IDLE, prepare } from './container-contender.ts';

const START_ATTEMPTS = 150;

/**
 * A daemon with the image `bench`.
 * @param options `bridgeIn` names the network namespace in which it has its bridge; without one containers have no network
 * @throws Error saying why Docker cannot take part
 */
export async function startDocker(options: {
  tar: string;
  scratch: string;
  bridgeIn?: string;
}): Promise<ContainerCommand> {
  const dockerd = findProgram('dockerd');
  if (!dockerd || !findProgram('docker'))
    throw new Error('Docker (Debian package docker.io) is not installed');
  const dir = join(options.scratch, 'docker');
  mkdirSync(dir, { recursive: true });
  const socket = `unix://${join(dir, 'sock')}`;
  const log = openSync(join(dir, 'log'), 'w');
  const { bridgeIn } = options;
  const own = ['--bridge=none', '--iptables=false', '--ip6tables=false', '--ip-forward=false'];
  const argv = [
    ...(bridgeIn === undefined ? [] : ['nsenter', `--net=/run/netns/${bridgeIn}`]),
    dockerd,
    ...['--data-root', join(dir, 'data'), '--exec-root', join(dir, 'exec'), '--pidfile', join(dir, 'pid')],
    ...['--host', socket, ...(bridgeIn === undefined ? own : ['--ip6tables=false'])],
  ];
  const [program = '', ...args] = argv;
  const daemon = spawn(program, args, { stdio: ['ignore', log, log] });
  closeSync(log);
  const docker = (...args: string[]): [string, ...string[]] => ['docker', '--host', socket, ...args];
  try {
    await waitForDaemon(daemon, () => run(docker('version'), { timeoutMs: 5_000 }));
    await prepare(docker, options.tar);
  } catch (error) {
    await stop(daemon);
    throw error;
  }
  return {
    command: docker,
    idle: IDLE,
    close: async () => {
      await run(docker('rm', '--force', IDLE));
      await stop(daemon);
    },
  };
}

async function waitForDaemon(daemon: ChildProcess, ask: () => Promise<unknown>): Promise<void> {
  for (let attempt = 0; attempt < START_ATTEMPTS; attempt++) {
    if (daemon.exitCode !== null) throw new Error(`dockerd ended with status ${daemon.exitCode}`);
    try {
      await ask();
      return;
    } catch {
      await delay(200);
    }
  }
  throw new Error('dockerd did not answer');
}

async function stop(daemon: ChildProcess): Promise<void> {
  if (daemon.exitCode !== null) return;
  const exit = once(daemon, 'exit');
  daemon.kill('SIGTERM');
  await exit;
}
