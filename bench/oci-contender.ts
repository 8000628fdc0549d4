/** An OCI runtime by itself: what the same machine can do without anything around it. No network, no overlay, no limits. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { run } from '../server/src/platform/command.ts';
import { type Contender, timed } from './contender.ts';

interface OciOptions {
  readonly name: string;
  /** The runtime and its global flags. */
  readonly command: readonly [string, ...string[]];
  readonly rootfs: string;
  readonly scratch: string;
}

/** Prepares a bundle and a long-running container for `exec`. */
export async function ociContender({ name, command, rootfs, scratch }: OciOptions): Promise<Contender> {
  const bundle = async (label: string, args: readonly string[]): Promise<string> => {
    const dir = join(scratch, `${name}-${label}`);
    mkdirSync(dir, { recursive: true });
    await run([...command, 'spec'], { cwd: dir });
    const path = join(dir, 'config.json');
    const spec = JSON.parse(readFileSync(path, 'utf8'));
    spec.root = { path: rootfs, readonly: true };
    spec.process.args = args;
    spec.process.terminal = false;
    writeFileSync(path, JSON.stringify(spec));
    return dir;
  };
  const echo = await bundle('echo', ['echo', 'hello']);
  const idle = await bundle('idle', ['sleep', 'infinity']);
  const idleId = `bench-idle-${process.pid}`;
  // Detached: the container outlives the command, and nothing of ours waits for it.
  const starter = spawn(command[0], [...command.slice(1), 'run', '--bundle', idle, '--detach', idleId], {
    stdio: 'ignore',
  });
  const [code] = await once(starter, 'exit');
  if (code !== 0) throw new Error(`${name} cannot start a container`);
  let count = 0;
  return {
    name,
    createToFirstOutput: () =>
      timeToFirstByte([...command, 'run', '--bundle', echo, `bench-${process.pid}-${count++}`]),
    execRoundTrip: () => timed(() => run([...command, 'exec', idleId, 'true'])),
    close: async () => {
      await run([...command, 'delete', '--force', idleId]);
    },
  };
}

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
