import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import http from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { tokenFilePath, tokenFileSchema } from '../../auth/token-file.ts';
import { TokenStore } from '../../auth/token-store.ts';
import { Cleanup } from '../../platform/cleanup.ts';
import { openVault } from '../../secrets/vault.ts';
import { openTestStore } from '../../store/testing/open-test-store.ts';
import { createLogger } from '../../telemetry/logger.ts';
import { tokenRoute } from './token-route.ts';

const taken = { sandboxes: 1, milliCpu: 1000, memoryMiB: 64, diskMiB: 64 };

describe('tokens over HTTP', () => {
  const cleanup = new Cleanup();
  let url: string;
  let owner: string;
  let tokens: TokenStore;
  after(() => cleanup.run());

  before(async () => {
    const dataDir = await mkdtemp(join(tmpdir(), 'skerry-tokens-'));
    cleanup.add('data', () => rm(dataDir, { recursive: true, force: true }));
    const store = openTestStore(dataDir);
    cleanup.add('store', () => store.close());
    tokens = await TokenStore.open({
      settings: store.settings,
      dataDir,
      vault: openVault(dataDir, undefined),
      now: () => 5000,
    });
    const file = tokenFileSchema.parse(JSON.parse(await readFile(tokenFilePath(dataDir), 'utf8')));
    owner = `${file.tokenId}:${file.tokenSecret}`;
    const logger = createLogger('silent');
    const endpoint = () => ({ url: 'https://lab:7423', fingerprint: 'sha256:00' });
    const version = '1.2.3';
    const takenBy = () => taken;
    const route = tokenRoute({ tokens, takenBy, version, instance: '0badcafe', endpoint, logger });
    const server = http.createServer((request, response) => void route.handle(request, response));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    cleanup.add('server', () => void server.close());
    url = `http://127.0.0.1:${(server.address() as { port: number }).port}/skerry/v1`; // TCP, so it has a port
  });

  const ask = async (method: string, path: string, bearer: string | undefined, body?: string) => {
    const headers = bearer === undefined ? {} : { authorization: `Bearer ${bearer}` };
    const response = await fetch(`${url}/${path}`, {
      method,
      headers,
      ...(body === undefined ? {} : { body }),
    });
    return { status: response.status, body: (await response.json()) as Record<string, unknown> };
  };

  test('a token tells which server it is for, a wrong one that it is wrong', async () => {
    const mine = await ask('GET', 'token', owner);
    assert.deepEqual(mine, {
      status: 200,
      body: {
        skerry: '1.2.3',
        instance: '0badcafe',
        url: 'https://lab:7423',
        fingerprint: 'sha256:00',
        scope: 'admin',
        apiKey: tokens.apiKeyForToken(),
      },
    });
    for (const bearer of [undefined, `${owner}0`, 'ak-x:as-y', 'nonsense', ':'])
      assert.equal((await ask('GET', 'token', bearer)).status, 401);
  });

  test('the owner makes, lists and revokes tokens; one of them can do none of it', async () => {
    const made = await ask('POST', 'tokens', owner, '{"label":"Ada’s laptop"}');
    assert.equal(made.status, 400, 'a label is shown on terminals');
    const { status, body } = await ask('POST', 'tokens', owner, '{"label":"laptop of Ada"}');
    assert.equal(status, 200);
    const issued = `${body.tokenId}:${body.tokenSecret}`;
    const theirs = await ask('GET', 'token', issued);
    assert.equal(theirs.status, 200);
    assert.equal(tokens.identityOfApiKey(String(theirs.body.apiKey))?.scope, 'sandboxes');
    assert.notEqual(theirs.body.apiKey, tokens.apiKeyForToken());
    for (const [method, path] of [
      ['GET', 'tokens'],
      ['POST', 'tokens'],
      ['DELETE', `tokens/${body.tokenId}`],
    ] as const)
      assert.equal((await ask(method, path, issued, method === 'POST' ? '{}' : undefined)).status, 403);

    assert.deepEqual((await ask('GET', 'tokens', owner)).body, {
      tokens: [
        {
          ...{ tokenId: body.tokenId, label: 'laptop of Ada', scope: 'sandboxes', createdAtMs: 5000 },
          ...{ quotas: {}, taken },
        },
      ],
    });
    assert.equal((await ask('DELETE', `tokens/${body.tokenId}`, owner)).status, 200);
    assert.equal((await ask('GET', 'token', issued)).status, 401);
    assert.equal(tokens.identityOfApiKey(String(theirs.body.apiKey)), undefined);
    assert.equal((await ask('DELETE', `tokens/${body.tokenId}`, owner)).status, 404);
    const [ownId = ''] = owner.split(':');
    assert.equal((await ask('DELETE', `tokens/${ownId}`, owner)).status, 404, "the owner's is token.json's");
  });

  test('one with the scope admin does what the owner does, until its time is over', async () => {
    const body = '{"scope":"admin","expiresAtMs":6000}';
    const made = (await ask('POST', 'tokens', owner, body)).body;
    const admin = `${made.tokenId}:${made.tokenSecret}`;
    const theirs = (await ask('POST', 'tokens', admin, '{"scope":"read"}')).body;
    const refused = await ask('GET', 'tokens', `${theirs.tokenId}:${theirs.tokenSecret}`);
    assert.equal(refused.status, 403);
    assert.match(JSON.stringify(refused.body), /scope-missing.*scope 'admin'; this one has 'read'/);
    assert.equal((await ask('POST', 'tokens', admin, '{"expiresAtMs":5000}')).status, 400);
    assert.equal((await ask('DELETE', `tokens/${theirs.tokenId}`, admin)).status, 200);
    assert.equal((await ask('DELETE', `tokens/${made.tokenId}`, admin)).status, 200, 'its own as well');
    assert.equal((await ask('GET', 'tokens', admin)).status, 401);
  });

  test('quotas are kept and shown; a token that can make others has none', async () => {
    const quotas = { maxSandboxes: 2, maxMilliCpu: 1500, createsPerMinute: 6 };
    const made = await ask('POST', 'tokens', owner, JSON.stringify({ quotas }));
    const id = String(made.body.tokenId);
    const listed = (await ask('GET', 'tokens', owner)).body.tokens as { tokenId: string; quotas: object }[];
    assert.deepEqual(listed.find(({ tokenId }) => tokenId === id)?.quotas, quotas);
    assert.deepEqual(tokens.quotasOf(id), quotas);
    assert.equal((await ask('DELETE', `tokens/${id}`, owner)).status, 200);
    assert.deepEqual(tokens.quotasOf(id), {});
    const admin = await ask('POST', 'tokens', owner, JSON.stringify({ scope: 'admin', quotas }));
    assert.match(JSON.stringify(admin.body), /Quotas would not hold/);
    for (const bad of [{ maxSandboxes: 0 }, { maxMemoryMiB: 1.5 }, { maxGpus: 1 }])
      assert.equal((await ask('POST', 'tokens', owner, JSON.stringify({ quotas: bad }))).status, 400);
  });

  test('a token gets another secret, and the one before is good for as long as was asked for', async () => {
    const made = (await ask('POST', 'tokens', owner, '{}')).body;
    const before = `${made.tokenId}:${made.tokenSecret}`;
    const path = `tokens/${made.tokenId}/secret`;
    const opens = async (bearer: string) => (await ask('GET', 'token', bearer)).status === 200;
    const first = (await ask('POST', path, owner, '{"graceMs":1000}')).body;
    const then = `${first.tokenId}:${first.tokenSecret}`;
    assert.deepEqual([first.tokenId, await opens(before), await opens(then)], [made.tokenId, true, true]);
    await ask('POST', path, owner, '{}');
    assert.deepEqual([await opens(before), await opens(then)], [false, false]);
    assert.equal((await ask('POST', path, owner, '{"graceMs":-1}')).status, 400);
    assert.equal((await ask('POST', 'tokens/ak-none/secret', owner, '{}')).status, 404);
  });

  test('bad requests are refused', async () => {
    assert.equal((await ask('POST', 'tokens', owner, '{')).status, 400);
    assert.equal((await ask('POST', 'tokens', owner, '{"lable":"x"}')).status, 400);
    assert.equal((await ask('POST', 'tokens', owner, `"${'x'.repeat(5000)}"`)).status, 413);
    assert.equal((await ask('POST', 'tokens', owner, '{"scope":"root"}')).status, 400);
    assert.equal((await ask('PUT', 'tokens', owner, '{}')).status, 404);
  });
});
