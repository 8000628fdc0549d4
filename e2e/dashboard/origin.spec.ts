/** Nothing that is a sandbox's runs in the dashboard's origin, or gets at who is signed in. */
import { readFileSync } from 'node:fs';
import { expect } from '@playwright/test';
import { HOSTILE, shows, test } from './fixtures.ts';
import { lookAt } from './look.ts';

const script = 'opener.pwned = parent.pwned = globalThis.pwned = true';
const files = {
  [`${HOSTILE.replaceAll('/', '')}.html`]: `<script>${script}</script>`,
  'a.svg': `<svg xmlns="http://www.w3.org/2000/svg"><script>${script}</script></svg>`,
  'a.js': script,
};

/** All that a page could try: the file as a script, as a picture, in a frame, and in place of the page. */
const tryFiles = (sandboxId: string) => `(async () => {
  const { key } = JSON.parse(localStorage.getItem('skerry-session'));
  const outcomes = [];
  for (const name of ${JSON.stringify(Object.keys(files))}) {
    const path = '/v1/sandboxes/${sandboxId}/files?path=' + encodeURIComponent('/tmp/' + name);
    const answer = await fetch('/dashboard/downloads', {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'x-skerry-session': key },
      body: JSON.stringify({ path, name }),
    });
    const { url } = await answer.json();
    for (const kind of ['script', 'iframe', 'object', 'embed']) {
      const element = document.createElement(kind);
      const done = new Promise((resolve) => {
        element.onload = () => resolve('loaded');
        element.onerror = () => resolve('refused');
        setTimeout(resolve, 1000, 'nothing');
      });
      try {
        element[kind === 'object' ? 'data' : 'src'] = url;
        document.body.append(element);
      } catch {
        outcomes.push('refused');
        continue;
      }
      outcomes.push(await done);
      element.remove();
    }
    open(url, '_blank');
  }
  return { pwned: globalThis.pwned === true, outcomes };
})()`;

test('files move in and out, and nothing in them runs', async ({ dashboard: page, sandbox }) => {
  await page.goto(`/#/sandboxes/${sandbox.id}/files/%2Ftmp`);
  for (const [name, content] of Object.entries(files)) {
    const file = { name, mimeType: 'text/html', buffer: Buffer.from(content) };
    await expect(page.getByLabel('Upload')).toBeEnabled();
    await page.getByLabel('Upload').setInputFiles(file);
    await shows(page, name);
    expect(await sandbox.files.readText(`/tmp/${name}`)).toBe(content);
  }
  await lookAt(page, 'files');
  for (const [name, content] of Object.entries(files)) {
    const downloading = page.waitForEvent('download');
    await page.getByRole('button', { name: `Download ${name}` }).click();
    expect(readFileSync(await (await downloading).path(), 'utf8')).toBe(content);
  }
  expect(await page.evaluate(tryFiles(sandbox.id))).toHaveProperty('pwned', false);
  await page.goto(`/dashboard/api/v1/sandboxes/${sandbox.id}/files?path=/tmp/a.svg`);
  await shows(page, 'permission-denied');
  expect(await page.evaluate('globalThis.pwned')).toBeUndefined();
});

/** What a page at another port of the host tries of the dashboard's. */
const tryDashboard = (url: string) => `(async () => {
  const outcome = (path, init) => fetch('${url}' + path, { credentials: 'include', ...init })
    .then(({ status, type }) => type + ' ' + status, () => 'refused');
  const frame = document.createElement('iframe');
  frame.src = '${url}/';
  const loaded = new Promise((resolve) => { frame.onload = resolve; });
  document.body.append(frame);
  await loaded;
  let framed;
  try {
    framed = frame.contentWindow.document.body.innerText;
  } catch {
    framed = 'another origin';
  }
  return [
    await outcome('/dashboard/api/v1/sandboxes'),
    await outcome('/dashboard/api/v1/sandboxes', { headers: { 'x-skerry-session': 'x' } }),
    await outcome('/dashboard/session', { method: 'DELETE' }),
    localStorage.length,
    framed,
  ];
})()`;

test('a page of a sandbox is given nothing, though it is on the same host and is sent the cookie', async ({
  dashboard: page,
  sandbox,
  browsing: { serverUrl },
}) => {
  await sandbox.files.write('/srv/index.html', 'a page of a sandbox');
  const server = sandbox.exec(['python3', '-m', 'http.server', '8080', '-d', '/srv']);
  server.then(
    () => {},
    () => {},
  );
  const [tunnel] = await sandbox.tunnels();
  expect(new URL(tunnel?.url ?? '').hostname).toBe(new URL(serverUrl).hostname);
  await page.goto(tunnel?.url ?? ''); // waits until it listens
  await shows(page, 'a page of a sandbox');
  expect(await page.evaluate(tryDashboard(serverUrl))).toEqual([
    ...['refused', 'refused', 'refused', 0, 'another origin'],
  ]);
  // Its visitor is still signed in, and sees what went through the tunnel.
  await page.goto('/');
  await shows(page, 'also ended ones');
  await shows(page, sandbox.id);
  await page.goto(`/#/sandboxes/${sandbox.id}`);
  await shows(page, /Through its ports\s+\d connections?; [1-9][\d.]*\s\w+ in, [1-9][\d.]*\s\w+ out/);
});
