/** The command line of `skerry connect`. Results go to standard output, everything else to standard error. */
import { spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { constants } from 'node:os';
import { parseArgs } from 'node:util';
import { outliveReaders } from './closed-output.ts';
import { ConnectError, usageError } from './connect-error.ts';
import {
  clientEnvironment,
  type EnvironmentFormat,
  environmentFormats,
  formatEnvironment,
} from './environment.ts';
import { nameOf, parseFingerprint, parseServer, type Target } from './server-link.ts';
import { greet, readToken } from './token.ts';
import { openTunnel, type Tunnel } from './tunnel.ts';

const DEFAULT_PORT = 7423;

const HELP = `Usage: skerry connect [options] https://SERVER:7423 [-- COMMAND [ARGUMENT...]]

Opens a port on this machine behind which clients find the server as if it ran here, and carries everything to it over TLS.
With a command, runs that with the variables for clients set, and ends with it. Without one, prints the variables and
serves until it is interrupted.

  --fingerprint sha256:…  know the server by its key; \`skerry token create\` prints it there
  --ca-file FILE          trust the certificates of this PEM file; without either, those that Node trusts
  --token-file FILE       read the token from a file, - is standard input; without it, from SKERRY_TOKEN,
                          or MODAL_TOKEN_ID and MODAL_TOKEN_SECRET
  --port PORT             the port on this machine; ${DEFAULT_PORT} when it is free, else any free one
  --format sh|json|dotenv how to print the variables; sh by default
  --help
`;

interface Arguments {
  readonly target: Target;
  readonly tokenFile: string | undefined;
  readonly port: number | undefined;
  readonly format: EnvironmentFormat;
  readonly command: readonly string[];
}

/** Runs the command of a machine that has only this package, and returns the exit status. */
export async function main(argv: readonly string[]): Promise<number> {
  outliveReaders();
  const [name, ...rest] = argv;
  if (name === 'connect') return connectMain(rest);
  const asked = name === undefined || name === 'help' || name === '--help' || name === '-h';
  if (asked) process.stdout.write(HELP);
  else process.stderr.write(`skerry: there is only \`skerry connect\` in this package, no ${name}.\n`);
  return name !== undefined && asked ? 0 : 2;
}

/** Runs `skerry connect` with the words behind it, and returns the exit status. */
export async function connectMain(argv: readonly string[]): Promise<number> {
  try {
    const given = await parseArguments(argv);
    if (given === 'help') {
      process.stdout.write(HELP);
      return 0;
    }
    return await connect(given);
  } catch (error) {
    if (!(error instanceof ConnectError)) throw error;
    process.stderr.write(`skerry: ${error.message}\n`);
    return error.exitStatus;
  }
}

async function parseArguments(argv: readonly string[]): Promise<Arguments | 'help'> {
  const end = argv.indexOf('--');
  const words = end < 0 ? argv : argv.slice(0, end);
  const command = end < 0 ? [] : argv.slice(end + 1);
  const { values, positionals } = parseWords(words);
  if (values.help) return 'help';
  const [server, ...more] = positionals;
  if (server === undefined || more.length > 0) throw usageError('Name one server: https://HOST:PORT.');
  if (end >= 0 && command.length === 0) throw usageError('There is no command behind --.');
  const port = values.port === undefined ? undefined : Number(values.port);
  if (port !== undefined && !(Number.isInteger(port) && port >= 0 && port <= 65535)) {
    throw usageError(`--port ${values.port}: a port is a number from 0 to 65535.`);
  }
  const format = environmentFormats.find((each) => each === (values.format ?? 'sh'));
  if (format === undefined) throw usageError(`--format is one of ${environmentFormats.join(', ')}.`);
  const fingerprint = values.fingerprint === undefined ? undefined : parseFingerprint(values.fingerprint);
  const ca = values['ca-file'] === undefined ? undefined : await readCa(values['ca-file']);
  const target = { ...parseServer(server), fingerprint, ca };
  return { target, tokenFile: values['token-file'], port, format, command };
}

function parseWords(words: readonly string[]) {
  try {
    return parseArgs({
      args: [...words],
      allowPositionals: true,
      options: {
        fingerprint: { type: 'string' },
        'ca-file': { type: 'string' },
        'token-file': { type: 'string' },
        port: { type: 'string' },
        format: { type: 'string' },
        help: { type: 'boolean', short: 'h' },
      },
    });
  } catch (error) {
    throw usageError(error instanceof Error ? error.message : String(error));
  }
}

async function readCa(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    throw usageError(`--ca-file: ${error instanceof Error ? error.message : error}`);
  }
}

const say = (line: string) => process.stderr.write(`skerry connect: ${line}\n`);

async function connect({ target, tokenFile, port, format, command }: Arguments): Promise<number> {
  const token = await readToken(tokenFile, process.env, process.stdin);
  const { version, credentials } = await greet(target, token);
  const tunnel = await open(target, port);
  try {
    const url = `http://127.0.0.1:${tunnel.port}`;
    const variables = clientEnvironment(url, credentials, process.env);
    if (command.length > 0) return await runCommand(command, variables);
    process.stdout.write(formatEnvironment(variables, format));
    say(`Skerry ${version} at ${nameOf(target)} is at ${url} now. Interrupt to end.`);
    await new Promise<void>((resolve) => {
      for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(name, () => resolve());
    });
    return 0;
  } finally {
    await tunnel.close();
  }
}

/** The port that was asked for, or the usual one, or any when that is taken. */
async function open(target: Target, port: number | undefined): Promise<Tunnel> {
  if (port !== undefined) return openTunnel({ target, port, say });
  try {
    return await openTunnel({ target, port: DEFAULT_PORT, say });
  } catch {
    return openTunnel({ target, port: 0, say });
  }
}

/** Runs a command in this terminal and ends as it does. */
async function runCommand(
  [file = '', ...args]: readonly string[],
  variables: Readonly<Record<string, string>>,
): Promise<number> {
  const { SKERRY_TOKEN: _, ...env } = process.env;
  const child = spawn(file, args, { stdio: 'inherit', env: { ...env, ...variables } });
  // The terminal sends an interrupt to both processes; the others reach only this one.
  const ignore = () => {};
  const forward = (signal: NodeJS.Signals) => child.kill(signal);
  process.on('SIGINT', ignore).on('SIGTERM', forward).on('SIGHUP', forward);
  try {
    return await new Promise<number>((resolve, reject) => {
      child.once('error', (error) => {
        reject(new ConnectError(`${file} cannot be started: ${error.message}`, { exitStatus: 127 }));
      });
      child.once('exit', (code, signal) =>
        resolve(code ?? 128 + (signal === null ? 0 : constants.signals[signal])),
      );
    });
  } finally {
    process.off('SIGINT', ignore).off('SIGTERM', forward).off('SIGHUP', forward);
  }
}
