/**
 * Child processes for the scripts. The server has its own supervisor (`server/src/platform/command.ts`), which is TypeScript and
 * so out of reach before Node 24 is installed.
 */
import { spawn } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';
import { SetupError } from './step.mjs';

const TAIL_BYTES = 16 << 10;

/** Where system tools are; a PATH of an ordinary user lacks the `sbin` directories. */
const systemDirs = ['/usr/local/sbin', '/usr/sbin', '/sbin'];

/** The full path of a program, or undefined. */
export function which(name, env = process.env) {
  for (const dir of [...(env.PATH ?? '').split(delimiter), ...systemDirs]) {
    if (dir === '') continue;
    const path = join(dir, name);
    try {
      accessSync(path, constants.X_OK);
      return path;
    } catch {
      // not here
    }
  }
  return undefined;
}

/**
 * Runs a command to its end and returns what it printed on standard output.
 * `progress` gets each piece of output; `okCodes` are exit codes besides 0 that are not failures.
 * @throws SetupError with the end of the output
 */
export async function capture(argv, { cwd, env = process.env, progress, okCodes = [] } = {}) {
  const [file, ...args] = argv;
  const child = spawn(file, args, { cwd, env, stdio: ['ignore', 'pipe', 'pipe'] });
  let stdout = '';
  let tail = '';
  const take = (stream) => (chunk) => {
    const text = chunk.toString('utf8');
    if (stream === 'stdout') stdout += text;
    tail = (tail + text).slice(-TAIL_BYTES);
    progress?.(text);
  };
  child.stdout.on('data', take('stdout'));
  child.stderr.on('data', take('stderr'));
  const [code, signal] = await new Promise((resolve, reject) => {
    child.once('error', (error) => reject(new SetupError(`${file} cannot be started: ${error.message}`)));
    child.once('close', (...how) => resolve(how));
  });
  if (code === 0 || okCodes.includes(code)) return stdout;
  const how = code === null ? `was ended by ${signal}` : `failed with status ${code}`;
  throw new SetupError(`${argv.join(' ')}\n${how}:\n${tail.trim().split('\n').slice(-30).join('\n')}`);
}

/**
 * Runs a command that talks to the user itself; resolves with its exit code. An interrupt goes to both (they share the
 * terminal's process group): the script waits for the command to tidy up.
 */
export async function attach(argv, { cwd, env = process.env } = {}) {
  const [file, ...args] = argv;
  const child = spawn(file, args, { cwd, env, stdio: 'inherit' });
  const wait = () => {};
  process.on('SIGINT', wait);
  const forward = () => child.kill('SIGTERM');
  process.on('SIGTERM', forward);
  try {
    return await new Promise((resolve, reject) => {
      child.once('error', (error) => reject(new SetupError(`${file} cannot be started: ${error.message}`)));
      child.once('close', (code) => resolve(code ?? 1));
    });
  } finally {
    process.off('SIGINT', wait);
    process.off('SIGTERM', forward);
  }
}
