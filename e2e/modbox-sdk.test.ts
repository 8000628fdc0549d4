/** The package as its users get it: packed, installed elsewhere, and run against a real server; and the four examples with it. */
import assert from 'node:assert/strict';
import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { run } from '../server/src/platform/command.ts';
import { installPacked } from './support/packed.ts';
import { type ProgramResult, runProgram } from './support/program.ts';
import { projectRoot, startServer, type TestServer } from './support/server.ts';

describe('modbox-sdk from a packed tarball', () => {
  let server: TestServer;
  let consumer: string;
  before(async () => {
    consumer = mkdtempSync(join(tmpdir(), 'modbox-consumer-'));
    cpSync(join(projectRoot, 'examples/modbox'), consumer, { recursive: true });
    await installPacked('modbox-sdk', consumer);
    server = await startServer();
  });
  after(async () => {
    await server?.stop(); // asserts that nothing is left
    if (consumer) rmSync(consumer, { recursive: true, force: true });
  });

  const runFile = (file: string): Promise<ProgramResult> =>
    // The first use of the default image builds it.
    runProgram([process.execPath, file], { cwd: consumer, env: server.clientEnv, timeoutMs: 600_000 });

  test('its types hold for a strict program of another project', async () => {
    writeFileSync(
      join(consumer, 'types.ts'),
      `import { ModboxClient, ConflictError, type Sandbox } from 'modbox-sdk';
const modbox = new ModboxClient({ token: '' as string | undefined });
const sandbox: Sandbox = await modbox.provisionSandbox({ taskId: 't', imageId: undefined as string | undefined });
const status: 'starting' | 'running' | 'suspended' | 'stopping' | 'ended' = sandbox.status;
try { await modbox.connect(sandbox).exec({ argv: [status] }); } catch (error) { if (error instanceof ConflictError) error.differs.join(); }
// @ts-expect-error taskId is required
await modbox.provisionSandbox({});
`,
    );
    const tsc = join(projectRoot, 'node_modules/.bin/tsc');
    const flags = ['--noEmit', '--strict', '--exactOptionalPropertyTypes', '--module', 'nodenext'];
    await run([tsc, ...flags, '--target', 'es2022', '--lib', 'es2022,dom', 'types.ts'], { cwd: consumer });
  });

  test('single execution', async () => {
    const { code, stdout, stderr } = await runFile('single-execution.ts');
    assert.equal(code, 0, stderr);
    assert.match(stdout, /exitCode: 0,\s+stdout: 'Hello, world!\\n',\s+stderr: '',\s+durationMs: \d+/);
  });

  test('session', async () => {
    const { code, stdout, stderr } = await runFile('session.ts');
    assert.equal(code, 0, stderr);
    assert.match(stdout, /^ada: remember me\nada is ada-\S+\nbob: FileNotFoundError: .*$/);
  });

  test('LLM tool call', async () => {
    const { code, stdout, stderr } = await runFile('llm-tool-call.ts');
    assert.equal(code, 0, stderr);
    assert.equal(stdout, 'stdout:\n285\n\nstderr:\n\nexitCode: 0\nstdout:\n\nstderr:\n\nexitCode: 3');
  });

  test('quoting breaks where the README says, argv and stdin never do', async () => {
    const { code, stdout, stderr } = await runFile('quoting.ts');
    assert.equal(code, 0, stderr);
    assert.deepEqual(stdout.split('\n'), [
      'double quotes: quoted works, argv and stdin give "Hello, world!\\n"',
      'a quote in a quote: quoted BREAKS, argv and stdin give "she said \\"hi\\"\\n"',
      'a dollar sign: quoted BREAKS, argv and stdin give "costs $HOME\\n"',
      'backticks: quoted BREAKS, argv and stdin give "`date`\\n"',
      'two backslashes: quoted BREAKS, argv and stdin give "C:\\\\temp\\n"',
      'a newline: quoted works, argv and stdin give "1\\n2\\n"',
    ]);
  });
});
