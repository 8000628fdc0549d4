/** The package `skerry` as its users get it: packed, installed elsewhere, checked, and every example of its README run against a real server. */
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { json } from 'node:stream/consumers';
import { after, before, describe, test } from 'node:test';
import { ensureTools, tool } from '../scripts/lib/tools.mjs';
import { type CodeResult, InvalidRequestError, Sandbox } from '../sdk/src/index.ts';
import { run } from '../server/src/platform/command.ts';
import { compileOthers, readMigrationPage } from './support/migration-page.ts';
import { assertPublishable, installPacked, npmOptions } from './support/packed.ts';
import { runProgram } from './support/program.ts';
import { copySdkProgram, used } from './support/sdk-program.ts';
import { projectRoot, startServer, type TestServer } from './support/server.ts';

const sdk = join(projectRoot, 'sdk');

/** The Node that the machine has, where it is not ours: what many programs run under. */
async function oldNode(): Promise<string | undefined> {
  const ours = process.execPath.slice(0, -'/bin/node'.length);
  const paths = (process.env.PATH ?? '').split(delimiter).map((directory) => join(directory, 'node'));
  const own = paths.find((path) => existsSync(path) && !realpathSync(path).startsWith(ours));
  if (own === undefined) return undefined;
  const { stdout } = await run([own, '--version']);
  return Number.parseInt(stdout.slice(1), 10) >= 20 ? own : undefined;
}

/** What each example of the README prints must match, in their order. */
const printed = [
  /^0 42\n$/,
  /^a\nb\n\n1\n2\n3$/,
  /^0 a\n1 b\n2 c\n(stdout \d+\n)+\{ exitCode: 0, signal: null, timedOut: false \}\ntrue\nTimeoutError$/,
  /^21 adding\n undefined\nZeroDivisionError true\nKeyboardInterrupt 20\nstdout False\n\n0$/,
  /^a,b\n1,2\n 8\n\[ \[ 'in.csv', 8 \] \]\nnot-found Check the id or name/,
  /^planted \[ '\/file', '\/seed' \]\nready\nplantedk-1\n\nsb-\w+ running \{\}$/,
  /^false\nrunning\nsuspended awake\n$/,
  /^200\n\[ \[ 8000, 'https:\/\/.*' \] \]$/,
  /^It is 42\.$/,
];

describe('the package skerry from a packed tarball', () => {
  let server: TestServer;
  let consumer: string;
  let tarball: string;
  before(async () => {
    consumer = mkdtempSync(join(tmpdir(), 'sdk-consumer-'));
    writeFileSync(join(consumer, 'package.json'), '{"type": "module"}');
    tarball = await installPacked('sdk', consumer);
    server = await startServer({ runtime: 'auto', warmPool: 2 });
  });
  after(async () => {
    await server?.stop(); // asserts that nothing is left
    if (consumer) rmSync(consumer, { recursive: true, force: true });
  });

  test('its published shape is sound', () => assertPublishable(tarball));

  test('it is small for a page that loads it, and so are modbox-sdk and the dashboard', async () => {
    await run([process.execPath, join(projectRoot, 'scripts/size.mjs')], npmOptions);
  });

  test('its reference is what the comments say, and there is one for all of it', async () => {
    await run([process.execPath, join(projectRoot, 'scripts/reference.mjs'), '--check'], npmOptions);
  });

  test('its types hold for a strict program of another project', async () => {
    writeFileSync(
      join(consumer, 'types.ts'),
      `import { CommandError, Sandbox, type SandboxInfo } from 'skerry';
const sandbox = await Sandbox.create({ image: undefined as string | undefined, signal: new AbortController().signal });
const status: SandboxInfo['status'] = sandbox.info.status;
const text: string = await sandbox.$\`echo \${status} \${[1, 'two']}\`.text();
const code: number = (await sandbox.exec([text])).exitCode;
for await (const bytes of sandbox.exec(['a']).stdout) bytes satisfies Uint8Array;
try { await sandbox.terminate(); } catch (error) { if (error instanceof CommandError) error.exitCode + code; }
// @ts-expect-error there is no such option
await Sandbox.create({ imagge: '' });
`,
    );
    const tsc = join(projectRoot, 'node_modules/.bin/tsc');
    const flags = ['--noEmit', '--strict', '--exactOptionalPropertyTypes', '--module', 'nodenext'];
    const lib = 'es2022,dom,dom.asynciterable,esnext.disposable';
    await run([tsc, ...flags, '--target', 'es2022', '--lib', lib, 'types.ts'], { cwd: consumer });
  });

  const examples = [...readFileSync(join(sdk, 'README.md'), 'utf8').matchAll(/^```ts\n(.*?)^```/gms)];
  assert.equal(examples.length, printed.length);
  for (const [index, [, code = '']] of examples.entries()) {
    test(`example ${index + 1} of its README does what it says`, async () => {
      const file = `example-${index + 1}.ts`;
      writeFileSync(join(consumer, file), code);
      await using model = await startModel();
      const env = { ...server.clientEnv, MODEL_URL: model.url };
      const options = { cwd: consumer, env, timeoutMs: 300_000 };
      const result = await runProgram([process.execPath, file], options);
      assert.equal(result.code, 0, result.stderr);
      assert.match(result.stdout, printed[index] ?? /never/);
    });
  }

  test('each line for who comes from another SDK does what it says', async () => {
    const { heads, rows } = readMigrationPage();
    const column = heads.indexOf('`skerry`');
    const lines = rows.map((fields) => fields[column]?.join('; ') ?? '');
    assert.ok(lines.length > 20 && lines.every((line) => line !== ''), 'each row has one');
    const program = [`import { Sandbox, Volume } from 'skerry';`, ...lines].join('\n');
    writeFileSync(join(consumer, 'migration.ts'), program);
    const options = { cwd: consumer, env: server.clientEnv, timeoutMs: 300_000 };
    const result = await runProgram([process.execPath, 'migration.ts'], options);
    assert.equal(result.code, 0, result.stderr);
    assert.match(
      result.stdout,
      /^true 0\nit's quoted\n1\n\/tmp\n\ntext\n\[ .*'note'.* \]\n2\nFalse\ntrue\ntrue\nx\ntrue\nTimeoutError\nsuspended awake\n$/,
    );
  });

  test('each line of another SDK there is what that one has', async () => {
    await ensureTools();
    const directory = mkdtempSync(join(tmpdir(), 'sdk-others-'));
    try {
      await compileOthers(directory);
    } finally {
      rmSync(directory, { recursive: true });
    }
  });

  for (const [name, find] of [
    ["the machine's own Node", oldNode],
    ['Bun', () => tool('bun')],
  ] as const) {
    test(`a program uses it under ${name}`, async (t) => {
      const program = await find();
      if (program === undefined) return t.skip('there is none from 20 on');
      const main = `import { useSdk } from '${copySdkProgram(consumer)}'; console.log(JSON.stringify(await useSdk()));`;
      writeFileSync(join(consumer, 'use.mjs'), main);
      const { stdout, stderr } = await runProgram([program, 'use.mjs'], {
        cwd: consumer,
        env: server.clientEnv,
      });
      assert.deepEqual(JSON.parse(stdout || stderr), used);
    });
  }

  test('code gives rich results, whoever prints, and ends with its interpreter', async () => {
    const { tokenId, tokenSecret } = server.token;
    const at = { url: server.url, token: `${tokenId}:${tokenSecret}` };
    await using sandbox = await Sandbox.create({ ...at, image: 'python:3.11-slim' });
    const rich = `
import subprocess, sys
subprocess.run(["sh", "-c", "printf ü; echo err >&2"])
class Picture:
    def _repr_png_(self): return b"png"
    def _repr_html_(self): return "<b>"
    def __repr__(self): return "picture"
display(1)
Picture()`;
    const { stdout, stderr, results } = await sandbox.runCode('python', rich);
    assert.deepEqual([stdout, stderr], ['ü', 'err\n']);
    assert.deepEqual(
      results.map(({ text, html, png }) => [text, html, png]),
      [
        ['1', undefined, undefined],
        ['picture', '<b>', Buffer.from('png').toString('base64')],
      ],
    );
    const flood = await sandbox.runCode('python', 'while True: display(1)', { timeoutMs: 300 });
    assert.equal(flood.error?.name, 'KeyboardInterrupt');
    assert.equal((await sandbox.runCode('python', '1 + 1')).text, '2', 'no line was left half written');
    const syntax = await sandbox.runCode('python', 'def f(:');
    assert.equal(syntax.error?.name, 'SyntaxError');
    const big = await sandbox.runCode('python', 'print("x" * 300_000); sys.exit(2)');
    assert.deepEqual([big.stdout.length, big.error?.name], [300_001, 'SystemExit']);
    await assert.rejects(
      sandbox.runCode('python', 'import os; os._exit(3)'),
      (error: { code?: string }) => error.code === 'interpreter-ended',
    );
  });

  test('code of every language runs where the image has it, and says what is needed where not', async () => {
    const { tokenId, tokenSecret } = server.token;
    const at = { url: server.url, token: `${tokenId}:${tokenSecret}` };
    await using python = await Sandbox.create({ ...at, image: 'python:3.12-slim-bookworm' });
    await python.runCode('bash', 'cd /tmp; kept=5');
    const broken = await python.runCode('bash', 'sleep 600; echo never', { timeoutMs: 500 });
    assert.deepEqual([broken.error?.name, broken.stdout], ['ExitStatus', '']);
    assert.equal((await python.runCode('bash', 'pwd; echo $kept')).stdout, '/tmp\n5\n');
    await assert.rejects(
      python.runCode('javascript', '1'),
      (error) => error instanceof InvalidRequestError && /node:22/.test(error.suggestion),
    );
    await assert.rejects(python.runCode('cobol' as 'bash', ''), /python, javascript, typescript, bash/);
    await assert.rejects(python.runCode('bash', 'exit 4'), /ended with exit code 4/);
    assert.equal((await python.runCode('bash', 'echo "$kept."')).stdout, '.\n');
  });

  test('who gives up on code waits no longer, and others have their turn', async () => {
    const { tokenId, tokenSecret } = server.token;
    const at = { url: server.url, token: `${tokenId}:${tokenSecret}` };
    await using sandbox = await Sandbox.create({ ...at, image: 'python:3.12-slim-bookworm' });
    const enough = { name: 'Error', message: 'enough' };
    const givingUp = async (work: (signal: AbortSignal) => Promise<unknown>) => {
      const controller = new AbortController();
      const rejected = assert.rejects(work(controller.signal), enough);
      controller.abort(new Error('enough'));
      await rejected;
    };
    await givingUp((signal) => sandbox.createContext('bash', { signal }));
    let other: Promise<CodeResult> | undefined;
    await givingUp((signal) => {
      const mine = sandbox.runCode('bash', 'echo mine', { signal });
      other = sandbox.runCode('bash', 'echo other');
      return mine;
    });
    assert.equal((await other)?.stdout, 'other\n');
    await using context = await sandbox.createContext('bash');
    const pipe = '/tmp/$$-pipe'; // its interpreter's own
    const made = await context.run(`mkfifo ${pipe}; echo ${pipe}`);
    const long = context.run(`read -r line < ${pipe}; rm ${pipe}; echo $line`);
    await givingUp((signal) => context.run('echo never', { signal }));
    await sandbox.exec(['sh', '-c', `echo on > ${made.stdout}`]);
    assert.equal((await long).stdout, 'on\n');
    assert.equal((await context.run('echo last')).stdout, 'last\n');
  });

  test('output goes on where it was when the server starts again', async () => {
    const { tokenId, tokenSecret } = server.token;
    const at = { url: server.url, token: `${tokenId}:${tokenSecret}` };
    await using sandbox = await Sandbox.create({ ...at, image: 'python:3.11-slim' });
    const program = sandbox.exec(['sh', '-c', 'echo one; read line; echo $line; exit 6'], { stdin: 'open' });
    const lines = program.stdout.lines();
    assert.equal((await lines.next()).value, 'one');
    await server.kill9();
    await server.restart();
    await program.stdin.end('two\n');
    assert.deepEqual(await Array.fromAsync(lines), ['two']);
    const { exitCode, stdout } = await program;
    assert.deepEqual([exitCode, stdout], [6, 'one\ntwo\n']);
  });
});

/** A model, or what a program takes for one: it has code run, and says what came of it. */
async function startModel() {
  const model = createServer(async (request, response) => {
    const { messages } = (await json(request)) as { messages: { role: string; content: string }[] };
    const last = messages.at(-1);
    const input = JSON.stringify({ language: 'python', code: 'print(6 * 7)' });
    const call = { id: 'call-1', type: 'function', function: { name: 'run_code', arguments: input } };
    const message =
      last?.role === 'tool'
        ? { role: 'assistant', content: `It is ${last.content.trim()}.` }
        : { role: 'assistant', content: null, tool_calls: [call] };
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify({ choices: [{ message }] }));
  });
  await new Promise<void>((resolve) => model.listen(0, '127.0.0.1', resolve));
  const address = model.address();
  assert.ok(address !== null && typeof address !== 'string');
  return {
    url: `http://127.0.0.1:${address.port}`,
    async [Symbol.asyncDispose]() {
      model.closeAllConnections();
      await new Promise((resolve) => model.close(resolve));
    },
  };
}
