/** Gateways over the real domain, the fake engine and the real agent: busybox serves in the sandboxes. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import http2 from 'node:http2';
import https from 'node:https';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { describe, it } from 'node:test';
import { ConnectTokens } from '../auth/connect-tokens.ts';
import { type Config, configSchema } from '../config/config.ts';
import type { Sandbox } from '../sandboxes/sandboxes.ts';
import { Domain } from '../sandboxes/testing/domain.ts';
import { loadCertificate } from '../transport/certificate.ts';
import { type OpenTunnels, openTunnels } from './open-tunnels.ts';

const PORT = 5000;
const SERVING = { args: ['httpd', '-f', '-p', `127.0.0.1:${PORT}`, '-h', '/data'] };
const REQUEST = { port: PORT, userMetadata: undefined };

interface Options {
  readonly config?: Partial<Config>;
  readonly mayEnter?: (address: string) => boolean;
}

async function over(domain: Domain, { config, mayEnter = () => true }: Options = {}): Promise<OpenTunnels> {
  const { dataDir, logger, store, manager: sandboxes } = domain;
  const certificate = await loadCertificate({ dataDir, certFile: '', keyFile: '', names: [], now: Date.now });
  return openTunnels({
    config: { ...configSchema.parse({ dataDir }), tunnelPorts: '22000-22999', tunnelWaitMs: 5000, ...config },
    repository: store.tunnels,
    gateways: {
      repository: store.gateways,
      tokens: new ConnectTokens(new Uint8Array(32).fill(5), Date.now),
    },
    follow: (follower) => sandboxes.follow(follower),
    mayEnter: (_sandbox, address) => mayEnter(address),
    ...{ sandboxes, certificate, logger, names: [], now: Date.now },
  });
}

const get = (url: string, token: string) =>
  fetch(`${url}/lower.txt`, { headers: { authorization: `Bearer ${token}` } });

/** With the name in the handshake, at this machine, trusting the authority of the data directory alone. */
async function getByName({ dataDir }: Domain, url: string, port: number, token: string) {
  const { hostname } = new URL(url);
  const request = https.get({
    ...{ host: '127.0.0.1', port, path: '/lower.txt', servername: hostname, agent: false },
    ca: readFileSync(join(dataDir, 'tls/ca.pem')),
    headers: { host: hostname, authorization: `Bearer ${token}` },
  });
  const [answer] = await once(request, 'response');
  return { status: answer.statusCode, body: await text(answer) };
}

describe('gateways', () => {
  it('have a port of the machine for each port of a sandbox, the same for all its tokens', async () => {
    await using domain = await Domain.open();
    const opened = await over(domain);
    const sandbox = await domain.running(SERVING);
    const one = await opened.gateways.credentials(sandbox, REQUEST);
    const [two, other] = await Promise.all([
      opened.gateways.credentials(sandbox, { port: PORT, userMetadata: 'x' }),
      opened.gateways.credentials(sandbox, { port: PORT + 1, userMetadata: undefined }),
    ]);
    assert.match(one.url, /^http:\/\/127\.0\.0\.1:22\d{3}$/);
    assert.equal(two.url, one.url);
    assert.notEqual(other.url, one.url);
    for (const { token } of [one, two]) {
      const answer = await get(one.url, token);
      assert.deepEqual([answer.status, await answer.text()], [200, 'lower\n']);
    }
    assert.equal((await get(other.url, one.token)).status, 403);
    opened.close();
  });

  it('speak HTTP/2 and HTTP/1.1 in TLS at the same port, and give a cookie for HTTPS alone there', async () => {
    await using domain = await Domain.open();
    const opened = await over(domain);
    const sandbox = await domain.running(SERVING);
    const { url, token } = await opened.gateways.credentials(sandbox, REQUEST);
    const ca = readFileSync(join(domain.dataDir, 'tls/ca.pem'));
    const session = http2.connect(url.replace('http:', 'https:'), { ca });
    const stream = session.request({ ':path': `/lower.txt?_modal_connect_token=${token}` });
    const [headers] = await once(stream, 'response');
    assert.equal(headers[':status'], 200);
    assert.match(headers['set-cookie'][0], /; HttpOnly; Secure; SameSite=Lax$/);
    assert.equal(await text(stream), 'lower\n');
    const { hostname, port } = new URL(url);
    const authorization = `Bearer ${token}`;
    const request = https.get({
      hostname,
      port,
      path: '/lower.txt',
      ca,
      headers: { authorization },
      agent: false,
    });
    const [answer] = await once(request, 'response');
    assert.deepEqual([answer.statusCode, await text(answer)], [200, 'lower\n']);
    session.close();
    opened.close();
  });

  it('are found again by the next server, and end with the sandbox, whoever is told', async () => {
    await using domain = await Domain.open();
    const before = await over(domain);
    const sandbox = await domain.running(SERVING);
    const ended = await domain.running(SERVING);
    const { url, token } = await before.gateways.credentials(sandbox, REQUEST);
    await before.gateways.credentials(ended, REQUEST);
    before.close();
    await ended.terminate();
    await using next = await domain.restart();
    const after = await over(next);
    assert.equal((await get(url, token)).status, 200);
    const same: Sandbox = next.manager.get(sandbox.id);
    assert.equal((await after.gateways.credentials(same, REQUEST)).url, url);
    assert.equal(next.store.gateways.all().length, 1);
    await same.terminate();
    await assert.rejects(get(url, token));
    await assert.rejects(after.gateways.credentials(same, REQUEST), {
      code: 'sandbox-ended',
      message: /already completed/,
    });
    assert.deepEqual(next.store.gateways.all(), []);
    after.close();
  });

  it('are not kept of a sandbox that ends while they are opened', async () => {
    await using domain = await Domain.open();
    const opened = await over(domain);
    const sandbox = await domain.running(SERVING);
    const opening = opened.gateways.credentials(sandbox, REQUEST); // which has seen that the sandbox runs
    const refused = assert.rejects(opening, { code: 'sandbox-ended' });
    await Promise.all([refused, sandbox.terminate()]);
    assert.deepEqual(domain.store.gateways.all(), []);
    opened.close();
  });

  it('have a name each where there is a domain, and their own cookies', async () => {
    await using domain = await Domain.open();
    const config = { tunnelDomain: 'tunnels.test', tunnelPort: 22_999, tunnelPublicPort: 443 };
    const opened = await over(domain, { config });
    const sandbox = await domain.running(SERVING);
    const one = await opened.gateways.credentials(sandbox, REQUEST);
    const other = await opened.gateways.credentials(sandbox, { ...REQUEST, port: PORT + 1 });
    assert.match(one.url, /^https:\/\/[a-z2-7]{32}\.tunnels\.test$/);
    assert.notEqual(other.url, one.url);
    assert.deepEqual(await getByName(domain, one.url, 22_999, one.token), { status: 200, body: 'lower\n' });
    assert.equal((await getByName(domain, other.url, 22_999, one.token)).status, 403);
    assert.equal((await getByName(domain, one.url, 22_999, 'wrong')).status, 401);
    await sandbox.terminate();
    assert.equal((await getByName(domain, one.url, 22_999, one.token)).status, 404);
    opened.close();
  });

  it('take connections only from whom they may, and no more than 64 for a sandbox', async () => {
    await using domain = await Domain.open();
    let allowed = false;
    const opened = await over(domain, { mayEnter: (address) => allowed && address === '127.0.0.1' });
    const sandbox = await domain.running(SERVING);
    const { url, token } = await opened.gateways.credentials(sandbox, REQUEST);
    await assert.rejects(get(url, token));
    allowed = true;
    assert.equal((await get(url, token)).status, 200);
    for (let port = 1; port < 64; port++) await opened.gateways.credentials(sandbox, { ...REQUEST, port });
    const tooMany = opened.gateways.credentials(sandbox, { ...REQUEST, port: 64 });
    await assert.rejects(tooMany, { code: 'resource-exhausted' });
    opened.close();
  });

  it('are not opened for what is no port, or for metadata that no header can hold', async () => {
    await using domain = await Domain.open();
    const opened = await over(domain);
    const sandbox = await domain.running(SERVING);
    for (const request of [
      { ...REQUEST, port: 0 },
      { ...REQUEST, port: 65_536 },
      { ...REQUEST, userMetadata: 'a\nb' },
    ]) {
      await assert.rejects(opened.gateways.credentials(sandbox, request), { code: 'invalid-argument' });
    }
    assert.deepEqual(domain.store.gateways.all(), []);
    opened.close();
  });
});
