/**
 * Pages in a real browser: one behind a connect token, whose token in its address becomes a cookie, which is of no use to the pages of other sandboxes; and one of another origin, which has a
 * token and uses the SDK.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { expect } from '@playwright/test';
import { build } from 'esbuild';
import { Browsing, noBrowsing, PAGE_MS } from './support/browsing.ts';
import { runPython } from './support/clients.ts';
import { used } from './support/sdk-program.ts';
import { projectRoot } from './support/server.ts';

const webServer = join(projectRoot, 'e2e/life/support/web_server.py');

/** Prints id, URL and token of two sandboxes with a web server each. */
const start = `
import modal, pathlib
app = modal.App.lookup("browser", create_if_missing=True)
image = modal.Image.from_registry("python:3.11-slim")
server = pathlib.Path("${webServer}").read_text()
for name in ["one", "other"]:
    sandbox = modal.Sandbox.create("python3", "-c", server, "127.0.0.1", "8080", app=app, image=image)
    granted = sandbox.create_connect_token({"user": name})
    print(sandbox.object_id, granted.url, granted.token)
`;

/** The first message of a websocket, or that there is none. */
const greeting = (url: string) => `new Promise((resolve) => {
  const socket = new WebSocket('${url.replace(/^http/, 'ws')}/');
  socket.onmessage = ({ data }) => { resolve(data); socket.close(); };
  socket.onerror = () => resolve('refused');
})`;

describe('pages in a browser', { skip: noBrowsing }, () => {
  let browsing: Browsing;
  before(async () => {
    browsing = await Browsing.open();
  });
  after(() => browsing?.[Symbol.asyncDispose]());

  test('one behind a connect token loads what it needs with a cookie, and a page of another sandbox cannot use that', async () => {
    const { server } = browsing;
    const { stdout, stderr } = await runPython(server, start);
    const [one = [], other = []] = stdout
      .trim()
      .split('\n')
      .map((line) => line.split(' '));
    const [id = '', url = '', token = ''] = one;
    const [otherId = '', otherUrl = '', otherToken = ''] = other;
    assert.match(otherUrl, /^https:/, stderr);
    await using page = await browsing.page();

    const shows = (user: string) =>
      expect(page.locator('body')).toContainText(`{\\"user\\": \\"${user}\\"}`, { timeout: PAGE_MS });
    await page.goto(`${url}/page?_modal_connect_token=${token}`);
    await shows('one');
    assert.equal(await page.evaluate('performance.getEntriesByType("navigation")[0].nextHopProtocol'), 'h2');
    const asked = 'fetch("/more", { method: "POST", body: "four" }).then((answer) => answer.text())';
    assert.equal(await page.evaluate(asked), '4');
    assert.equal(await page.evaluate(greeting(url)), '{"user": "one"}');
    const event = `new Promise((resolve) => {
      const events = new EventSource('/events');
      events.onmessage = ({ data }) => { resolve(data); events.close(); };
      events.onerror = () => resolve('refused');
    })`;
    assert.equal(await page.evaluate(event), '0');
    assert.doesNotMatch(String(await page.evaluate('document.cookie')), /sct_/, 'scripts do not see it');

    await page.goto(`${otherUrl}/page?_modal_connect_token=${otherToken}`);
    await shows('other');
    assert.equal(await page.evaluate(greeting(otherUrl)), '{"user": "other"}');
    assert.equal(await page.evaluate(greeting(url)), 'refused');
    const crossing = `fetch('${url}/', { credentials: 'include' }).then(() => 'read', () => 'refused')`;
    assert.equal(await page.evaluate(crossing), 'refused');

    // A link from there shows the page; the cookie of the one was not lost to that of the other.
    await page.evaluate(`location.href = '${url}/again'`);
    await shows('one');
    for (const each of [id, otherId]) {
      await runPython(server, `import modal; modal.Sandbox.from_id("${each}").terminate()`);
    }
  });

  test('one of another origin uses the SDK by the token that it has and nothing else', async () => {
    const { serverUrl } = browsing;
    const { tokenId, tokenSecret } = browsing.server.token;
    await using end = new AsyncDisposableStack();
    // `sdk.test.ts` has the package itself bundled for pages.
    const { outputFiles } = await build({
      stdin: {
        contents: `globalThis.sdk = import('./sdk-program.mjs');`,
        resolveDir: join(projectRoot, 'e2e/support'),
      },
      alias: { skerry: join(projectRoot, 'sdk/src/index.ts') },
      ...{ bundle: true, platform: 'browser', format: 'esm', write: false },
    });
    const origin = createServer((request, response) => {
      const isScript = request.url === '/script';
      response.setHeader('content-type', isScript ? 'text/javascript' : 'text/html');
      response.end(isScript ? outputFiles[0]?.contents : '<script type="module" src="/script"></script>');
    }).listen(0, new URL(serverUrl).hostname);
    end.defer(() => void origin.close());
    await once(origin, 'listening');
    await using page = await browsing.page();
    // Listens on an address and a port, so it has one.
    await page.goto(`http://${new URL(serverUrl).hostname}:${(origin.address() as AddressInfo).port}/`);
    await page.waitForFunction('globalThis.sdk');
    const use = (token: string) =>
      page.evaluate(
        `sdk.then((it) => it.useSdk(${JSON.stringify({ url: serverUrl, token })})).catch((error) => error.name)`,
      );
    assert.deepEqual(await use(`${tokenId}:${tokenSecret}`), used);
    assert.equal(await use('ak-none:as-none'), 'AuthenticationError');
    // Who is signed in to the dashboard is nobody to a page of another origin.
    const asked = (path: string) =>
      `fetch('${serverUrl}${path}', { credentials: 'include' }).then((it) => it.status, (error) => error.name)`;
    for (const path of ['/v1/sandboxes', '/dashboard/v1/sandboxes', '/skerry/v1/warm']) {
      assert.equal(await page.evaluate(asked(path)), 'TypeError', path);
    }
    origin.closeAllConnections();
  });
});
