/** The official clients, as `npm test` installs them, and how a test runs a program with one. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { type ProgramOptions, type ProgramResult, runProgram } from './program.ts';
import { projectRoot, type TestServer } from './server.ts';

/** The Python client that users get today; the older ones are named where they are tested. */
export const CURRENT_PYTHON_CLIENT = '1.6.4';

/** The interpreter with one version of the official Python client. @throws when `npm test` has not installed it */
export function pythonWith(version: string = CURRENT_PYTHON_CLIENT): string {
  const python = join(projectRoot, '.skerry/venv', `modal-${version}`, 'bin/python');
  if (!existsSync(python)) throw new Error(`${python} is missing: run \`npm test\` once, it installs it`);
  return python;
}

type ClientOptions = Partial<Omit<ProgramOptions, 'env'>> & {
  readonly env?: Readonly<Record<string, string>>;
  readonly version?: string;
  /** Arguments of a program file. */
  readonly argv?: readonly string[];
};

const options = (
  server: TestServer,
  { env, version: _, argv: __, ...rest }: ClientOptions,
): ProgramOptions => ({
  ...rest,
  env: { ...server.clientEnv, PYTHONUNBUFFERED: '1', ...env },
});

/** Runs Python source with the official client, pointed at the server. */
export function runPython(
  server: TestServer,
  source: string,
  given: ClientOptions = {},
): Promise<ProgramResult> {
  return runProgram([pythonWith(given.version), '-c', source], options(server, given));
}

/** Runs a file with the official Python client. */
export function runPythonFile(
  server: TestServer,
  path: string,
  given: ClientOptions = {},
): Promise<ProgramResult> {
  return runProgram([pythonWith(given.version), path, ...(given.argv ?? [])], options(server, given));
}

/** Runs a JavaScript module file with the official JavaScript client. */
export function runJsFile(
  server: TestServer,
  path: string,
  given: ClientOptions = {},
): Promise<ProgramResult> {
  return runProgram([process.execPath, path], options(server, given));
}

/** Runs JavaScript module source with the official JavaScript client. */
export function runJs(server: TestServer, source: string, given: ClientOptions = {}): Promise<ProgramResult> {
  return runProgram(
    [process.execPath, '--input-type=module', '-e', source],
    options(server, { cwd: join(projectRoot, 'e2e'), ...given }),
  );
}

/** The compiled Go example, or undefined where there is no Go. */
export function goExample(): string | undefined {
  const path = join(projectRoot, '.skerry/bin/safe-code-execution-go');
  return existsSync(path) ? path : undefined;
}

/** Runs the Go example. */
export function runGo(server: TestServer, binary: string, given: ClientOptions = {}): Promise<ProgramResult> {
  return runProgram([binary], options(server, given));
}
