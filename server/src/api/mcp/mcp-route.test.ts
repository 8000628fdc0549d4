/** `/mcp` with the protocol's own client, over the real domain and the fake engine. */
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { test } from 'node:test';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import type { Transport } from '@modelcontextprotocol/sdk/shared/transport.js';
import { z } from 'zod';
import { delay } from '../../platform/wait.ts';
import { createLogger } from '../../telemetry/logger.ts';
import { ApiServer } from '../modbox/testing/api-server.ts';
import { mcpRoute } from './mcp-route.ts';
import { IDLE_MS } from './mcp-sessions.ts';

const answerSchema = z.object({
  isError: z.boolean().default(false),
  content: z.array(z.object({ type: z.string(), text: z.string().default('') })),
});
const initialize = {
  jsonrpc: '2.0',
  id: 1,
  method: 'initialize',
  params: { protocolVersion: '2025-06-18', capabilities: {}, clientInfo: { name: 'test', version: '1' } },
};

class Served implements AsyncDisposable {
  readonly api: ApiServer;
  readonly url: string;
  readonly route: ReturnType<typeof mcpRoute>;
  readonly #clients: Client[] = [];
  readonly #server: ReturnType<typeof createServer>;
  nowMs = 1_000_000;

  private constructor(api: ApiServer, port: number, server: ReturnType<typeof createServer>) {
    this.api = api;
    this.#server = server;
    this.url = `http://127.0.0.1:${port}/mcp?image=base`;
    this.route = mcpRoute({
      ...{
        tokens: api.tokens,
        sandboxes: api.domain.manager,
        logger: createLogger('silent'),
        names: ['lab.example.com'],
      },
      ...{ url: () => api.url, now: () => this.nowMs },
    });
    server.on('request', (request, response) => void this.route.handle(request, response));
  }

  static async start(): Promise<Served> {
    const api = await ApiServer.start();
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return new Served(api, (server.address() as { port: number }).port, server); // TCP, so it has a port
  }

  async client(bearer: string, url = this.url) {
    const transport = new StreamableHTTPClientTransport(new URL(url), {
      requestInit: { headers: { authorization: `Bearer ${bearer}` } },
    });
    const client = new Client({ name: 'test', version: '1' });
    await client.connect(transport as Transport); // its optional fields are written otherwise
    this.#clients.push(client);
    const call = async (name: string, args: Record<string, unknown> = {}) => {
      const { isError, content } = answerSchema.parse(await client.callTool({ name, arguments: args }));
      return { isError, text: content.map(({ text }) => text).join('\n') };
    };
    return { client, transport, call };
  }

  post(headers: Readonly<Record<string, string>>, body: unknown = initialize) {
    const accept = 'application/json, text/event-stream';
    return fetch(this.url, {
      method: 'POST',
      headers: { accept, 'content-type': 'application/json', ...headers },
      body: JSON.stringify(body),
    });
  }

  running(): readonly string[] {
    return this.api.domain.manager.list({ limit: 100 }).map(({ id }) => id);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const client of this.#clients) await client.close();
    await this.route.close();
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
    await this.api[Symbol.asyncDispose]();
  }
}

test('a session has a sandbox of its own, which ends with it', async () => {
  await using served = await Served.start();
  const one = await served.client(served.api.token);
  const two = await served.client(served.api.token);
  assert.deepEqual(served.running(), [], 'none before it is needed');
  await one.call('write_file', { path: '/tmp/mcp-one', content: 'one' });
  assert.equal((await one.call('read_file', { path: '/tmp/mcp-one' })).text, 'one');
  const [own] = served.running();
  const theirs = await two.call('run_command', { command: 'true', sandboxId: own });
  assert.deepEqual([theirs.isError, /no sandbox/.test(theirs.text)], [true, true]);
  await two.call('run_command', { command: 'true' });
  assert.equal(served.running().length, 2);
  await one.transport.terminateSession();
  await served.api.domain.manager
    .list({ includeEnded: true, limit: 9 })
    .find(({ id }) => id === own)
    ?.wait(30_000, AbortSignal.timeout(30_000));
  assert.equal(served.running().length, 1);
  await assert.rejects(one.call('run_command', { command: 'true' }), /Mcp-Session-Id is missing/);
});

test('one in which nobody speaks ends, and so does one whose token is revoked', async () => {
  await using served = await Served.start();
  const { tokenId, bearer } = served.api.issue('sandboxes');
  const { client, call } = await served.client(bearer);
  const owner = await served.client(served.api.token);
  await call('run_command', { command: 'true' });
  await owner.call('run_command', { command: 'true' });
  assert.equal(served.running().length, 2);
  // Its client listens on a stream as long as it is there, which counts as speaking.
  served.nowMs += IDLE_MS;
  await served.route.sweep();
  assert.equal(served.running().length, 2);
  served.api.tokens.revoke(tokenId);
  await assert.rejects(call('run_command', { command: 'true' }), /revoked|wrong/);
  await client.close();
  await owner.client.close();
  // Its stream is closed, which the server is told of when it comes to that.
  while (served.running().length > 0) {
    served.nowMs += IDLE_MS;
    await served.route.sweep();
    await delay(20);
  }
  assert.deepEqual(served.running(), []);
});

test('who may not is told what is needed', async () => {
  await using served = await Served.start();
  const read = served.api.issue('read');
  const owner = { authorization: `Bearer ${served.api.token}` };
  const refused = await served.post({ authorization: `Bearer ${read.bearer}` });
  assert.deepEqual(
    [refused.status, /'sandboxes'; this one has 'read'/.test(await refused.text())],
    [403, true],
  );
  const nobody = await served.post({});
  assert.deepEqual([nobody.status, nobody.headers.get('www-authenticate')], [401, 'Bearer']);
  for (const [origin, status] of [
    ['https://evil.example', 403],
    ['null', 403],
    ['http://localhost:6274', 200],
    ['https://lab.example.com', 200],
  ] as const) {
    const answer = await served.post({ ...owner, origin });
    assert.deepEqual([origin, answer.status], [origin, status]);
    assert.equal(answer.headers.get('access-control-allow-origin'), status === 200 ? origin : null);
    await answer.body?.cancel();
  }
  const preflight = await fetch(served.url, { method: 'OPTIONS', headers: { origin: 'http://localhost:1' } });
  assert.equal(preflight.status, 204);

  const begun = await served.post(owner);
  const session = begun.headers.get('mcp-session-id') ?? '';
  await begun.body?.cancel();
  const list = { jsonrpc: '2.0', id: 2, method: 'tools/list' };
  const other = served.api.issue('sandboxes');
  const stolen = await served.post(
    { authorization: `Bearer ${other.bearer}`, 'mcp-session-id': session },
    list,
  );
  assert.equal(stolen.status, 404, 'a session is of its token alone');
  assert.equal((await served.post(owner, list)).status, 400);
  assert.equal((await served.post(owner, 'x'.repeat(9 << 20))).status, 413);
  await assert.rejects(
    served.client(served.api.token, `${served.url}&net=none&memry=1`),
    /memry: the address may have/,
  );
});
