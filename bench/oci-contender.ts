/** An OCI runtime by itself: what the same machine can do without anything around it. No network, no overlay, no limits. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { machineRuntimes } from '../e2e/support/runtimes.ts';
import { run } from '../server/src/platform/command.ts';
import { type Contender, timed } from './contender.ts';

interface OciOptions {
  readonly name: string;
  /** The runtime and its global flags. */
  readonly command: readonly [string, ...string[]];
  readonly rootfs: string;
  readonly scratch: string;
  /** Whether its programs may write to the root file system. */
  readonly writable?: boolean;
}

const LONG_MS = 300_000;

export interface OciContender extends Contender {
  /** Runs a program in the container that is there. @throws when it fails */
  exec(argv: readonly string[]): Promise<void>;
}

/** Prepares a bundle and a long-running container for `exec`. */
export async function ociContender(options: OciOptions): Promise<OciContender> {
  const { name, command } = options;
  const echo = await makeBundle(options, 'echo', ['echo', 'hello']);
  const endIdle = await (await startDetachedBy(options))();
  const idleId = idName(name, 'idle', 0);
  let count = 0;
  return {
    name,
    createToFirstOutput: () =>
      timeToFirstByte([...command, 'run', '--bundle', echo, idName(name, 'echo', count++)]),
    execRoundTrip: () => timed(() => run([...command, 'exec', idleId, 'true'])),
    exec: async (argv) => {
      await run([...command, 'exec', idleId, ...argv], { timeoutMs: LONG_MS });
    },
    close: endIdle,
  };
}

/** @returns what starts one that is there until the function it resolves to is called */
export async function startDetachedBy(options: OciOptions): Promise<() => Promise<() => Promise<void>>> {
  const { name, command } = options;
  const bundle = await makeBundle(options, 'idle', ['sleep', 'infinity']);
  let count = 0;
  return async () => {
    const id = idName(name, 'idle', count++);
    // The container outlives the command: what it inherits is a file, so that nothing of ours waits for its end.
    const words = openSync(join(bundle, 'words'), 'w');
    const starter = spawn(command[0], [...command.slice(1), 'run', '--bundle', bundle, '--detach', id], {
      stdio: ['ignore', 'ignore', words],
    });
    closeSync(words);
    const [code] = await once(starter, 'exit');
    if (code !== 0) {
      const why = readFileSync(join(bundle, 'words'), 'utf8').trim().split('\n').at(-1);
      throw new Error(`${name} cannot start a container: ${why}`);
    }
    return async () => {
      await run([...command, 'delete', '--force', id]);
    };
  };
}

const idName = (name: string, kind: string, number: number): string =>
  `bench-${name}-${kind}-${process.pid}-${number}`;

/** A directory with a configuration of the runtime's own making, whose program is that one. */
async function makeBundle(
  { name, command, rootfs, scratch, writable = false }: OciOptions,
  label: string,
  args: readonly string[],
): Promise<string> {
  const dir = join(scratch, `${name}-${label}`);
  mkdirSync(dir, { recursive: true });
  await run([...command, 'spec'], { cwd: dir });
  const path = join(dir, 'config.json');
  const spec = JSON.parse(readFileSync(path, 'utf8'));
  spec.root = { path: rootfs, readonly: !writable };
  spec.process.args = args;
  spec.process.terminal = false;
  writeFileSync(path, JSON.stringify(spec));
  return dir;
}

/** Those of gVisor's own with which a container without a network starts and works fastest (docs/decisions/0057). */
const FAST_SWITCHES = ['--overlay2=root:memory'];

/** @param switches beside those without which runsc does not run here @throws Error when gVisor is not installed, or does not work */
export async function runscCommand(
  scratch: string,
  switches: readonly string[],
): Promise<[string, ...string[]]> {
  const { gvisor } = await machineRuntimes();
  if (!gvisor.ok) throw new Error(gvisor.reason);
  return [gvisor.path, '--root', join(scratch, 'runsc'), '--network=none', '--ignore-cgroups', ...switches];
}

/** gVisor by itself. @throws Error when it is not installed, or does not work */
export async function runscContender(options: Pick<OciOptions, 'rootfs' | 'scratch'>): Promise<Contender> {
  const command = await runscCommand(options.scratch, FAST_SWITCHES);
  const contender = await ociContender({ name: 'runsc', command, ...options });
  return {
    ...contender,
    close: async () => {
      await contender.close();
      await releaseRunsc(options.scratch);
    },
  };
}

/** gVisor keeps a network namespace without devices mounted among its states. */
export const releaseRunsc = async (scratch: string): Promise<void> => {
  await run(['umount', join(scratch, 'runsc', 'null-netns')]);
};

/** Milliseconds until a command's first output; then waits for its end. */
export async function timeToFirstByte(argv: readonly [string, ...string[]]): Promise<number> {
  const [file, ...args] = argv;
  const started = performance.now();
  const child = spawn(file, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  const errors: Buffer[] = [];
  child.stderr.on('data', (chunk: Buffer) => errors.push(chunk));
  const ended = once(child, 'close');
  const first = await Promise.race([
    once(child.stdout, 'data').then(() => performance.now() - started),
    ended.then(() => undefined),
  ]);
  const [code] = await ended;
  if (first === undefined || code !== 0)
    throw new Error(`${argv.join(' ')} failed: ${Buffer.concat(errors)}`);
  return first;
}
