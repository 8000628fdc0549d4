/** Programs of other people, as their registries have them, run against Skerry: `npm run test:programs` installs them (`scripts/lib/programs.mjs`). */
import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { type ProgramResult, runProgram } from '../support/program.ts';
import { projectRoot, startServer, type TestServer } from '../support/server.ts';

const missing = new Set((process.env.SKERRY_PROGRAMS_MISSING ?? '').split(','));
const leftOut = (name: string) => (missing.has(name) ? 'no Python that it can use' : false);
const dirOf = (name: string) => join(projectRoot, '.skerry/programs', name);
const driver = (name: string) => join(projectRoot, 'e2e/programs', name);

describe('programs of other people', () => {
  let server: TestServer;
  let scratch: string;
  before(async () => {
    scratch = mkdtempSync(join(tmpdir(), 'programs-'));
    server = await startServer({ runtime: 'runc' });
  });
  after(async () => {
    rmSync(scratch, { recursive: true, force: true });
    await server?.stop();
  });

  /** A program with a home directory of its own. */
  const run = (
    name: string,
    argv: readonly [string, ...string[]],
    env: Readonly<Record<string, string>> = {},
  ): Promise<ProgramResult> =>
    runProgram(argv, {
      cwd: scratch,
      env: { ...server.clientEnv, HOME: scratch, PROGRAM_DIR: dirOf(name), PYTHONUNBUFFERED: '1', ...env },
      timeoutMs: 600_000,
    });
  const succeed = async (...given: Parameters<typeof run>): Promise<ProgramResult> => {
    const result = await run(...given);
    assert.equal(result.code, 0, `${result.stdout}\n${result.stderr}`);
    return result;
  };

  /** Has Python trust the server's authority at tunnels. */
  const sslTrust = () => ({ SSL_CERT_FILE: join(server.dataDir, 'tls/ca.pem') });

  test('modal-sandbox-sdk: a sandbox is started, used and stopped by its command', async () => {
    const name = 'modal-sandbox-sdk';
    const command = (...args: string[]) => run(name, [join(dirOf(name), 'bin/sandbox'), ...args]);
    const answer = async (...args: string[]): Promise<Record<string, unknown>> => {
      const { stdout, stderr } = await command(...args);
      return JSON.parse(stdout || stderr); // errors are JSON as well
    };
    const image = ['--image', 'python:3.11-slim'];
    const options = ['--name', 'toolbox', '--env', 'GREETING=hi', '--encrypted-port', '8000'];
    const started = await command(...options, ...image, 'start');
    const id = /sb-\w+/.exec(started.stdout)?.[0] ?? assert.fail(`${started.stdout}\n${started.stderr}`);
    const inside = (...args: string[]) => answer('--sandbox-id', id, ...args);
    const ran = await inside('run', 'echo $GREETING; pwd; exit 3');
    assert.deepEqual([ran.stdout, ran.exit_code], ['hi\n/workspace\n', 3]);
    const absent = await inside('run-command', 'no-such-program');
    assert.equal(absent.exit_code, 128);
    await inside('write', 'notes/a.txt', '--content', 'some text');
    assert.match(JSON.stringify(await inside('read', 'notes/a.txt')), /some text/);
    assert.match(JSON.stringify(await inside('read', 'notes/none.txt')), /No such file or directory/);
    assert.match(JSON.stringify(await inside('stat', 'notes/a.txt')), /a\.txt/);
    await inside('mkdir', 'd/e');
    assert.deepEqual((await inside('ls', '.')).files, ['d', 'notes']);
    await inside('rm', 'd', '--recursive');
    const timed = await inside('--timeout', '2', 'run', 'echo before; sleep 60');
    assert.deepEqual([timed.stdout, timed.exit_code], ['before\n', -1]);
    const shown = await command('--sandbox-id', id, 'domain', '8000');
    assert.match(shown.stdout, /https:\/\/127\.0\.0\.1:\d+/, shown.stderr);
    const snapshot = await inside('snapshot-filesystem');
    assert.match(String(snapshot.image_id), /^im-/);
    assert.equal((await answer('--sandbox-name', 'toolbox', 'run', 'echo by name')).stdout, 'by name\n');
    assert.equal((await inside('stop', id)).status, 'terminated');
    const nowhere = await answer('--region', 'nowhere', ...image, 'run', 'true');
    assert.match(JSON.stringify(nowhere), /Invalid region/);
  });

  test('bellhop: a directory is sent, its job run, the results brought back', async () => {
    const bellhop = join(dirOf('bellhop'), 'bin/bellhop');
    const code = join(scratch, 'code');
    const out = join(scratch, 'out');
    mkdirSync(code);
    writeFileSync(
      join(code, 'job.py'),
      'import os, six\nos.makedirs("results", exist_ok=True)\nopen("results/answer.txt", "w").write(os.environ["GREETING"])\n',
    );
    const common = ['run', '--backend', 'modal', '--codebase', code, '--no-gcs', '--local-out', out];
    const job = ['--slug', 'demo', '--run', 'python3 job.py', '--results-subdir', 'results', '--pip', 'six'];
    await succeed('bellhop', [bellhop, ...common, ...job, '--env-json', '{"GREETING":"hi"}']);
    assert.equal(readFileSync(join(out, 'results/answer.txt'), 'utf8'), 'hi');
    const fails = ['--slug', 'fails', '--run', 'exit 7', '--image', 'python:3.11-slim'];
    const failed = await run('bellhop', [bellhop, ...common, ...fails]);
    assert.match(`${failed.stdout}${failed.stderr}`, /exited 7/);
  });

  test('harbor: a task is built, solved and verified, also without network', {
    skip: leftOut('harbor'),
  }, async () => {
    const jobs = join(scratch, 'jobs');
    const task = join(scratch, 'task');
    const trial = async (agent: string, internet: boolean): Promise<number> => {
      writeTask(task, internet);
      const where = [
        '-p',
        task,
        '-e',
        'modal',
        '-o',
        jobs,
        '-a',
        agent,
        '--job-name',
        `${agent}-${internet}`,
      ];
      await succeed('harbor', [join(dirOf('harbor'), 'bin/harbor'), 'run', '-q', '-y', ...where]);
      const result = JSON.parse(readFileSync(join(jobs, `${agent}-${internet}`, 'result.json'), 'utf8'));
      const [evaluation] = Object.values(result.stats.evals) as { metrics: { mean: number }[] }[];
      return evaluation?.metrics[0]?.mean ?? Number.NaN;
    };
    assert.equal(await trial('oracle', true), 1);
    assert.equal(await trial('nop', false), 0);
  });

  test('openai-agents: sessions with files, commands, a terminal, a port, and their resumption', async () => {
    const python = join(dirOf('openai-agents'), 'bin/python');
    await succeed('openai-agents', [python, driver('openai_agents_session.py')], sslTrust());
  });

  test('langchain-modal: commands and files for Deep Agents', async () => {
    await succeed('langchain-modal', [
      join(dirOf('langchain-modal'), 'bin/python'),
      driver('langchain_modal_backend.py'),
    ]);
  });

  test('inspect-sandboxes: what Inspect AI demands of a sandbox', {
    skip: leftOut('inspect-sandboxes'),
  }, async () => {
    const python = join(dirOf('inspect-sandboxes'), 'bin/python');
    await succeed('inspect-sandboxes', [python, driver('inspect_sandbox_environment.py')]);
  });

  test('swe-rex: commands, a shell and files, by its server behind a tunnel', async () => {
    const python = join(dirOf('swe-rex'), 'bin/python');
    await succeed('swe-rex', [python, driver('swerex_deployment.py')], sslTrust());
  });

  test('@computesdk/modal: commands, files and snapshots in JavaScript', async () => {
    const trust = { NODE_EXTRA_CA_CERTS: join(server.dataDir, 'tls/ca.pem') };
    await succeed('computesdk', [process.execPath, driver('computesdk.mjs')], trust);
  });
});

/** A task in the form that Harbor takes: an environment, a solution and what verifies it. */
function writeTask(directory: string, internet: boolean): void {
  const files = {
    'task.toml': `version = "1.0"
[verifier]
timeout_sec = 120.0
[agent]
timeout_sec = 120.0
[environment]
build_timeout_sec = 600.0
cpus = 1
memory_mb = 1024
allow_internet = ${internet}
`,
    'instruction.md': 'Copy data.txt to hello.txt.\n',
    'environment/Dockerfile': 'FROM python:3.11-slim\nCOPY data.txt /app/data.txt\nWORKDIR /app\n',
    'environment/data.txt': 'data\n',
    'solution/solve.sh': '#!/bin/bash\ncp data.txt /app/hello.txt\n',
    'tests/test.sh':
      '#!/bin/bash\nif grep -q data /app/hello.txt; then echo 1; else echo 0; fi > /logs/verifier/reward.txt\n',
  };
  for (const [name, content] of Object.entries(files)) {
    const path = join(directory, name);
    mkdirSync(join(path, '..'), { recursive: true });
    writeFileSync(path, content);
    if (name.endsWith('.sh')) chmodSync(path, 0o755);
  }
}
