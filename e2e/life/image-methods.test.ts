/** Every method of `modal.Image`, through each client that is supported: docs/image-methods.md has the table. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { startEcr, type TestEcr } from '../../server/src/images/bases/testing-ecr.ts';
import { startRegistry, type TestRegistry } from '../../server/src/images/bases/testing-registry.ts';
import { CURRENT_PYTHON_CLIENT, runPython, runPythonFile } from '../support/clients.ts';
import { projectRoot, startServer, type TestServer } from '../support/server.ts';
import { goCases, jsCases, pythonCases } from './support/cases.ts';

const PYTHON_CLIENTS = [CURRENT_PYTHON_CLIENT, '1.5.5', '1.3.5', '1.0.5'];
/** What is no method of images alone. */
const OF_EVERY_OBJECT = 'client clone deps hydrate is_hydrated local_uuid object_id'.split(' ');

const basic = (username: string, password: string) =>
  `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`;

describe('methods of modal.Image', () => {
  let server: TestServer;
  let registry: TestRegistry;
  let google: TestRegistry;
  let amazon: TestRegistry;
  let aws: TestEcr;
  /** Asks for a password, and must never be told one. */
  let thief: TestRegistry;

  before(async () => {
    const layers = [[{ name: 'file', text: 'from a registry' }]];
    registry = await startRegistry(layers, {}, basic('me', 'secret'));
    google = await startRegistry(layers, {}, basic('_json_key', '{"type": "service_account"}'));
    amazon = await startRegistry(layers, {}, basic('AWS', 'of today'));
    thief = await startRegistry(layers, {}, basic('any', 'password'));
    const key = { accessKeyId: 'AKIA1', secretAccessKey: 'key', region: 'eu-west-1' };
    aws = await startEcr(key, 'of today');
    const hosts = [registry, google, amazon, thief].map(({ host }) => host).join(',');
    const flags = ['--insecure-registries', hosts, '--ecr-endpoint', aws.endpoint];
    // Names of images that the other tests want as they are.
    server = await startServer({ runtime: 'runc', freshData: true, flags });
    const program = join(projectRoot, 'e2e/life/python/image_methods.py');
    const { code, stdout, stderr } = await runPythonFile(server, program, { argv: ['tools'] });
    assert.equal(code, 0, stderr);
    const image = stdout.trim().split('\n').at(-1);
    const { tokenId, tokenSecret } = server.token;
    for (const name of [
      'tools:1',
      ...['python:3.12.6-slim-bookworm', 'python:3.12.10-slim-bookworm', 'ghcr.io/astral-sh/uv:latest'],
      ...[
        'mambaorg/micromamba:1.5.10',
        'mambaorg/micromamba:1.5.10-bookworm-slim',
        'mambaorg/micromamba:2.1.1-debian12-slim',
      ],
    ]) {
      const response = await fetch(`${server.url}/skerry/v1/images/tag`, {
        method: 'POST',
        headers: { authorization: `Bearer ${tokenId}:${tokenSecret}` },
        body: JSON.stringify({ image, name }),
      });
      assert.equal(response.status, 200, await response.text());
    }
  });
  after(async () => {
    await server?.stop();
    await registry?.[Symbol.asyncDispose]();
    for (const each of [google, amazon, aws, thief]) await each?.[Symbol.asyncDispose]();
  });

  const env = () => ({
    ...{ REGISTRY: registry.host, GOOGLE_REGISTRY: google.host, AMAZON_REGISTRY: amazon.host },
    OTHER_REGISTRY: thief.host,
    PYTHONWARNINGS: 'ignore',
  });
  for (const version of PYTHON_CLIENTS) {
    test(version, (t) =>
      pythonCases(t, server, 'image_methods', { version, env: env(), timeoutMs: 600_000 }),
    );
  }
  test('the table has every method of theirs', async () => {
    const table = readFileSync(join(projectRoot, 'docs/image-methods.md'), 'utf8');
    for (const version of PYTHON_CLIENTS) {
      const { code, stdout, stderr } = await runPython(server, 'import modal; print(*dir(modal.Image))', {
        version,
      });
      assert.equal(code, 0, stderr);
      const methods = stdout
        .split(/\s+/)
        .filter((name) => /^[a-z]/.test(name) && !OF_EVERY_OBJECT.includes(name));
      assert.deepEqual(
        methods.filter((name) => !new RegExp(`\`${name}\\b`).test(table)),
        [],
        version,
      );
    }
  });
  test('a password was told to the registry of its image alone', () => {
    assert.notEqual(thief.requests.length, 0);
    assert.deepEqual(thief.credentials, []);
  });
  test('JavaScript', (t) => jsCases(t, server, 'image-methods', { env: env(), timeoutMs: 300_000 }));
  test('Go', (t) => goCases(t, server, { env: { ...env(), LIFE_IMAGES: '1' }, timeoutMs: 300_000 }));
});
