/** GPUs from a CDI specification through the official clients, with devices that are none. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { makeTestGpus, TEST_GPU_LIBRARY, type TestGpus } from '../../server/src/engines/testing/test-gpus.ts';
import { run } from '../../server/src/platform/command.ts';
import { goExample } from '../support/clients.ts';
import { projectRoot, startServer, type TestServer } from '../support/server.ts';
import { patient } from '../support/slowness.ts';
import { goCases, jsCases, pythonCases } from './support/cases.ts';

const cli = join(projectRoot, 'cli/bin/skerry.mjs');

describe('GPUs', () => {
  const directory = mkdtempSync(join(tmpdir(), 'gpus-'));
  let gpus: TestGpus;
  let server: TestServer;
  before(async () => {
    gpus = await makeTestGpus(directory, ['A100-80GB', 'T4']);
    server = await startServer({ runtime: 'auto', flags: ['--cdi-dirs', gpus.directory] });
  });
  after(async () => {
    await server?.stop();
    rmSync(directory, { recursive: true });
  });
  const options = { env: { LIFE_GPU_LIBRARY: TEST_GPU_LIBRARY } };

  test('in Python', (t) => pythonCases(t, server, 'gpus', options));

  test('over a crash of the server', async (t) => {
    await pythonCases(t, server, 'gpu_restart', { only: ['before_the_restart'] });
    await server.kill9();
    await server.restart();
    await pythonCases(t, server, 'gpu_restart', { only: ['after_the_restart'] });
  });

  test('in JavaScript', (t) => jsCases(t, server, 'gpus', options));

  test('in Go', { skip: goExample() === undefined ? 'no Go toolchain' : false }, (t) =>
    goCases(t, server, options),
  );

  for (const version of ['1.0.5', '1.3.5', '1.5.5']) {
    test(`in Python, client ${version}`, (t) =>
      pythonCases(t, server, 'gpus', {
        env: { ...options.env, PYTHONWARNINGS: 'ignore' },
        version,
        only: ['a_sandbox_has_the_gpu_it_asked_for_and_no_other', 'two_at_once_are_two'],
      }));
  }

  test('`skerry run --gpu` and the SDK ask for them', async () => {
    const { tokenId, tokenSecret } = server.token;
    const { PATH = '' } = process.env;
    const env = { PATH, HOME: directory, SKERRY_URL: server.url, SKERRY_TOKEN: `${tokenId}:${tokenSecret}` };
    const command = async (gpu: string) => {
      const words = [
        'run',
        '--image',
        'python:3.11-slim',
        '--gpu',
        gpu,
        '--',
        'sh',
        '-c',
        'ls /dev | grep test-gpu',
      ];
      return run([process.execPath, cli, ...words], { env, okCodes: [2, 125], timeoutMs: patient(60_000) });
    };
    assert.equal((await command('t4')).stdout, 'test-gpu1\n');
    assert.equal((await command('any:2')).stdout, 'test-gpu0\ntest-gpu1\n');
    const none = await command('H100');
    assert.deepEqual([none.code, /H100/.test(none.stderr)], [125, true]);
    assert.equal((await command('H100:0')).code, 2);
  });

  test('`skerry doctor` lists them, and what keeps a file from being used', async () => {
    const bad = join(directory, 'bad');
    mkdirSync(bad);
    writeFileSync(join(bad, 'bad.yaml'), 'kind: nothing\n', { mode: 0o644 });
    const checkOf = async (...dirs: string[]) => {
      const flags = ['doctor', '--json', '--data-dir', join(directory, 'doctor'), '--cdi-dirs', dirs.join()];
      const { stdout } = await run([process.execPath, cli, ...flags], { okCodes: [1] });
      const checks: { name: string; ok: boolean; found: string }[] = JSON.parse(stdout);
      return checks.find(({ name }) => name === 'GPUs');
    };
    const good = await checkOf(gpus.directory);
    assert.ok(good?.ok);
    assert.equal(good.found, 'skerry.test/gpu=0 (A100-80GB; runc), skerry.test/gpu=1 (T4; runc)');
    const mixed = await checkOf(gpus.directory, bad);
    assert.equal(mixed?.ok, false);
    assert.match(mixed.found, /skerry\.test\/gpu=1 \(T4; runc\); \S+bad\.yaml: cdiVersion/);
    assert.match((await checkOf(join(directory, 'absent')))?.found ?? '', /^none described in/);
  });

  test('the hooks of the specification ran with each', () => {
    const lines = readFileSync(gpus.hookLog, 'utf8').trim().split('\n');
    const count = (line: string) => lines.filter((each) => each === line).length;
    assert.ok(count('made hello') > 5);
    assert.deepEqual([count('begun hello'), lines.length], [count('made hello'), 2 * count('made hello')]);
  });
});
