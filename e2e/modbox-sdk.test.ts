/** The package as its users get it: packed, installed elsewhere, and run against a real server; and the four examples with it. */
import assert from 'node:assert/strict';
import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { run } from '../server/src/platform/command.ts';
import { assertPublishable, installPacked } from './support/packed.ts';
import { type ProgramResult, runProgram } from './support/program.ts';
import { projectRoot, startServer, type TestServer } from './support/server.ts';

describe('modbox-sdk from a packed tarball', () => {
  let server: TestServer;
  let consumer: string;
  let tarball: string;
  before(async () => {
    consumer = mkdtempSync(join(tmpdir(), 'modbox-consumer-'));
    cpSync(join(projectRoot, 'examples/modbox'), consumer, { recursive: true });
    tarball = await installPacked('modbox-sdk', consumer);
    server = await startServer();
  });
  after(async () => {
    await server?.stop(); // asserts that nothing is left
    if (consumer) rmSync(consumer, { recursive: true, force: true });
  });

  const runFile = (file: string): Promise<ProgramResult> =>
    // The first use of the default image builds it.
    runProgram([process.execPath, file], { cwd: consumer, env: server.clientEnv, timeoutMs: 600_000 });

  test('its published shape is sound', () => assertPublishable(tarball));

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

  test('it works beside the package skerry, which stands on the same core', async () => {
    await installPacked('sdk', consumer);
    writeFileSync(
      join(consumer, 'pair.ts'),
      `import { ModboxClient, ModboxError } from 'modbox-sdk';
import { Sandbox, SkerryError } from 'skerry';
const modbox = new ModboxClient();
const taskId = 'pair';
const { sandboxId, ...provisioned } = await modbox.provisionSandbox({ taskId });
await modbox.waitForSandbox({ taskId });
await modbox.connect(provisioned).writeFile('/tmp/file', 'of modbox-sdk');
const sandbox = await Sandbox.get(sandboxId);
console.log(await sandbox.files.readText('/tmp/file'));
const { stdout } = await modbox.connect(provisioned).exec({ argv: ['cat', '/tmp/file'] });
console.log(stdout === (await sandbox.exec(['cat', '/tmp/file'])).stdout);
await modbox.destroySandbox({ taskId });
const errors = await Promise.allSettled([modbox.getSandbox('none'), Sandbox.get('sb-none')]);
const reasons = errors.map((result) => (result.status === 'rejected' ? result.reason : undefined));
console.log(reasons.map(({ name, code }) => [name, code].join(' ')).join(', '));
console.log(reasons[0] instanceof ModboxError, reasons[1] instanceof SkerryError);
`,
    );
    const { code, stdout, stderr } = await runFile('pair.ts');
    assert.equal(code, 0, stderr);
    assert.equal(stdout, 'of modbox-sdk\ntrue\nNotFoundError not-found, NotFoundError not-found\ntrue true');
  });
});
