/** Runs the client programs of this folder and makes each of their cases a test. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { z } from 'zod';
import { run } from '../../../server/src/platform/command.ts';
import { pythonWith } from '../../support/clients.ts';
import { type ProgramResult, runProgram } from '../../support/program.ts';
import { definedEnvironment, projectRoot, type TestServer } from '../../support/server.ts';
import { slownessEnvironment } from '../../support/slowness.ts';

const life = join(projectRoot, 'e2e/life');
const GO_BUILD_TIMEOUT_MS = 300_000;

/** What a program reports, one JSON object a line behind an `@`: first its plan, then each case as it ends. */
const reportSchema = z.union([
  z.object({ plan: z.array(z.string()).min(1) }),
  z.object({ case: z.string(), error: z.string().nullable() }),
]);

interface CaseOptions {
  readonly env?: Readonly<Record<string, string>>;
  readonly timeoutMs?: number;
  /** Makes of the program's command the one that runs it elsewhere, on `OtherMachine` say. */
  readonly inside?: (argv: readonly string[]) => [string, ...string[]];
  /** Names of the cases to run; all by default. */
  readonly only?: readonly string[];
}

/** What of a server the programs are told. */
type ClientsOf = Pick<TestServer, 'clientEnv' | 'pid'>;

/** Runs `python/<name>.py` with a version of the official Python client, the current one by default. */
export function pythonCases(
  t: TestContext,
  server: ClientsOf,
  name: string,
  options: CaseOptions & { readonly version?: string } = {},
): Promise<void> {
  return runCases(t, server, [pythonWith(options.version), join(life, 'python', `${name}.py`)], options);
}

/** Runs `js/<name>.mjs` with the official JavaScript client. */
export function jsCases(
  t: TestContext,
  server: ClientsOf,
  name: string,
  options: CaseOptions = {},
): Promise<void> {
  return runCases(t, server, [process.execPath, join(life, 'js', `${name}.mjs`)], options);
}

/** Compiles `go/` and runs it with the official Go client. */
export async function goCases(t: TestContext, server: ClientsOf, options: CaseOptions = {}): Promise<void> {
  const binary = join(projectRoot, '.skerry/bin/life-go');
  await run(['go', 'build', '-C', join(life, 'go'), '-o', binary, '.'], {
    env: { ...definedEnvironment(), CGO_ENABLED: '0' },
    timeoutMs: GO_BUILD_TIMEOUT_MS,
  });
  await runCases(t, server, [binary], options);
}

async function runCases(
  t: TestContext,
  server: ClientsOf,
  argv: readonly [string, ...string[]],
  { env, timeoutMs = 180_000, inside, only = [] }: CaseOptions,
): Promise<void> {
  const command: [string, ...string[]] = [...argv, ...only];
  const result = await runProgram(inside ? inside(command) : command, {
    env: {
      ...server.clientEnv,
      ...slownessEnvironment,
      // Not in the clone's folders; and older clients, which were installed without, would be compiled anew by each program.
      PYTHONPYCACHEPREFIX: join(projectRoot, '.skerry/pycache'),
      LIFE_SERVER_PID: String(server.pid),
      ...env,
    },
    timeoutMs,
  });
  await report(t, result);
}

async function report(t: TestContext, result: ProgramResult): Promise<void> {
  const messages = result.stdout
    .split('\n')
    .filter((line) => line.startsWith('@'))
    .map((line) => reportSchema.parse(JSON.parse(line.slice(1))));
  const plan = messages.find((message) => 'plan' in message)?.plan;
  assert.ok(
    plan,
    `the program ended with ${result.code} before its cases\n${result.stdout}\n${result.stderr}`,
  );
  const ended = new Map(messages.flatMap((message) => ('case' in message ? [[message.case, message]] : [])));
  for (const name of plan) {
    await t.test(name.replaceAll('_', ' '), () => {
      const done = ended.get(name);
      assert.ok(done, `the program ended with ${result.code} in this case or before it\n${result.stderr}`);
      assert.equal(done.error, null, `${done.error}\n${result.stderr.slice(-2000)}`);
    });
  }
}
