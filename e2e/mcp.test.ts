/** `skerry mcp` and `/mcp` with the protocol's own client, and its inspector. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import type { Transport } from '@modelcontextprotocol/sdk/shared/transport.js';
import { z } from 'zod';
import { tool } from '../scripts/lib/tools.mjs';
import { Sandbox } from '../sdk/src/index.ts';
import { run } from '../server/src/platform/command.ts';
import { projectRoot, startServer, type TestServer } from './support/server.ts';
import { patient } from './support/slowness.ts';

const configurationSchema = z.object({
  mcpServers: z.object({
    skerry: z.object({
      args: z.array(z.string()).optional(),
      url: z.url().optional(),
      headers: z.object({ Authorization: z.string() }).optional(),
    }),
  }),
});
const answerSchema = z.object({
  isError: z.boolean().default(false),
  content: z.array(
    z.object({ type: z.string(), text: z.string().default(''), mimeType: z.string().default('') }),
  ),
});

/** The configurations of docs/mcp.md. */
const pageConfigurations = [
  ...readFileSync(join(projectRoot, 'docs/mcp.md'), 'utf8').matchAll(/```json\n(.*?)```/gs),
].map(([, json = '']) => json);
const configurations = pageConfigurations.map(
  (json) => configurationSchema.parse(JSON.parse(json)).mcpServers.skerry,
);
const documented = {
  args: configurations.flatMap(({ args }) => args ?? []),
  path:
    configurations.map(({ url }) => url && new URL(url).pathname + new URL(url).search).find(Boolean) ?? '',
  authorization: configurations.map(({ headers }) => headers?.Authorization).find(Boolean) ?? '',
};

describe('skerry mcp', () => {
  let server: TestServer;
  let client: Client;
  let at: { url: string; token: string };
  before(async () => {
    server = await startServer();
    const { tokenId, tokenSecret } = server.token;
    at = { url: server.url, token: `${tokenId}:${tokenSecret}` };
    const { PATH = '' } = process.env;
    client = new Client({ name: 'test', version: '1' });
    await client.connect(
      new StdioClientTransport({
        command: process.execPath,
        args: [join(projectRoot, 'cli/bin/skerry.mjs'), ...documented.args],
        env: { PATH, SKERRY_URL: at.url, SKERRY_TOKEN: at.token },
      }),
    );
  });
  after(async () => {
    await client?.close();
    await server?.stop(); // asserts that nothing is left
  });

  const call = async (name: string, args: Record<string, unknown> = {}) => {
    const result = await client.callTool({ name, arguments: args }, undefined, { timeout: patient(300_000) });
    const { isError, content } = answerSchema.parse(result);
    return { isError, content, text: content.map(({ text }) => text).join('\n') };
  };
  const running = async () => (await Array.fromAsync(Sandbox.list(at))).length;

  test('its tools work in one sandbox of the conversation', async () => {
    const { tools } = await client.listTools();
    const names = [
      'create_sandbox',
      'expose_port',
      'fork',
      'list_files',
      'read_file',
      'run_code',
      'run_command',
      'snapshot',
    ];
    assert.deepEqual(tools.map(({ name }) => name).sort(), [...names, 'stop', 'write_file']);
    assert.equal(await running(), 0, 'none before it is needed');
    assert.match((await call('write_file', { path: '/work/a.txt', content: 'one\n' })).text, /4 bytes/);
    assert.equal((await call('read_file', { path: '/work/a.txt' })).text, 'one\n');
    assert.equal((await call('list_files', { path: '/work' })).text, 'file\t4\ta.txt');
    const command = await call('run_command', {
      command: 'cat a.txt; ls /sys/class/net; exit 3',
      cwd: '/work',
    });
    assert.deepEqual([command.isError, /Exit code: 3\nstdout:\none/.test(command.text)], [true, true]);
    await call('run_code', { code: 'x = open("/work/a.txt").read()' });
    assert.equal((await call('run_code', { code: 'print(len(x)); x' })).text, "4\n\n'one\\n'");
    const failed = await call('run_code', { code: 'nonsense' });
    assert.deepEqual([failed.isError, /NameError/.test(failed.text)], [true, true]);
    const picture = 'class P:\n  def _repr_png_(self): return b"png"\nP()';
    assert.equal((await call('run_code', { code: picture })).content[0]?.mimeType, 'image/png');
    assert.equal(await running(), 1);
    assert.match((await call('expose_port', { port: 8000 })).text, /"url":"http/);
    assert.match((await call('snapshot')).text, /"imageId":"im-/);
  });

  test('further ones are apart, others out of reach, and all end with the conversation', async () => {
    const { text: id } = await call('create_sandbox');
    assert.equal((await call('read_file', { path: '/work/a.txt', sandboxId: id })).isError, true);
    await using others = await Sandbox.create({ ...at, image: 'python:3.12-slim-bookworm' });
    const refused = await call('run_command', { command: 'true', sandboxId: others.id });
    assert.deepEqual([refused.isError, /no sandbox/.test(refused.text)], [true, true]);
    await call('stop', { sandboxId: id });
    const missing = await call('read_file', { path: '/none' });
    assert.deepEqual([missing.isError, /\/none/.test(missing.text)], [true, true]);
    const [own] = (await Array.fromAsync(Sandbox.list(at))).filter((sandbox) => sandbox.id !== others.id);
    assert.ok(own);
    await client.close();
    assert.equal((await own.wait({ timeoutMs: patient(30_000) })).result?.reason, 'terminated');
  });

  test('over HTTP on the port of the server it is the same', async () => {
    const headers = { Authorization: documented.authorization.replace('TOKEN', at.token) };
    const transport = new StreamableHTTPClientTransport(new URL(at.url.concat(documented.path)), {
      requestInit: { headers },
    });
    client = new Client({ name: 'test', version: '1' });
    await client.connect(transport as Transport); // its optional fields are written otherwise
    const picture = 'import sys\nclass P:\n  def _repr_png_(self): return b"png"\nprint(sys.version)\nP()';
    const { content, text } = await call('run_code', { code: picture });
    assert.equal(content.at(-1)?.mimeType, 'image/png');
    assert.match(text, /^3\.12\./, 'as the address says');
    const exposed = JSON.parse((await call('expose_port', { port: 8000 })).text);
    assert.equal(new URL(exposed.url).hostname, new URL(at.url).hostname);
    assert.equal(await running(), 1);
    await transport.terminateSession();
    const [own] = await Array.fromAsync(Sandbox.list(at));
    await own?.wait({ timeoutMs: patient(30_000) });
    assert.equal(await running(), 0);
  });

  test("the protocol's inspector reads the configurations of the page, and finds and calls the tools both ways", async () => {
    const home = mkdtempSync(join(tmpdir(), 'inspector-'));
    await using end = new AsyncDisposableStack();
    end.defer(() => rmSync(home, { recursive: true }));
    symlinkSync(join(projectRoot, 'cli/bin/skerry'), join(home, 'skerry'));
    const env = { PATH: `${home}:${process.env.PATH ?? ''}`, HOME: home };
    const ours = { SKERRY_URL: at.url, SKERRY_TOKEN: at.token };
    const command = ['--tool-name', 'run_command', '--tool-arg', 'command=echo on'];
    for (const json of pageConfigurations) {
      const file = join(home, 'configuration.json');
      const { skerry } = JSON.parse(
        json.replace('http://127.0.0.1:7423', at.url).replace('TOKEN', at.token),
      ).mcpServers;
      writeFileSync(
        file,
        JSON.stringify({ mcpServers: { skerry: skerry.command ? { ...skerry, env: ours } : skerry } }),
      );
      const inspect = async (...words: readonly string[]) => {
        const inspector = [process.execPath, await tool('mcp-inspector'), '--cli'] as const;
        const argv = [...inspector, '--config', file, '--server', 'skerry', ...words] as const;
        return JSON.parse((await run(argv, { env, timeoutMs: patient(120_000) })).stdout);
      };
      assert.equal((await inspect('--method', 'tools/list')).tools.length, 10);
      const { text } =
        answerSchema.parse(await inspect('--method', 'tools/call', ...command)).content[1] ?? {};
      assert.equal(text, 'stdout:\non\n');
    }
  });
});
