/** The dashboard in a real browser: one server, a few sandboxes, every page. `SKERRY_PICTURES=1` writes the pictures of `docs/images/`. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { ensureDashboard } from '../scripts/lib/dashboard.mjs';
import { Sandbox, secrets, Volume } from '../sdk/src/index.ts';
import { delay } from '../server/src/platform/wait.ts';
import type { Page } from './support/browser.ts';
import { Browsing, noBrowsing } from './support/browsing.ts';
import { projectRoot } from './support/server.ts';
import { patient } from './support/slowness.ts';

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const pictures = process.env.SKERRY_PICTURES ? join(projectRoot, 'docs/images') : undefined;
/** As an attacker would name things: it must be read, not run. */
const HOSTILE = '<img src=x onerror="document.title=1">';

const DESK = { width: 1100, height: 700 };
const PHONE = { width: 390, height: 780 };

/** What is read once it is what was expected, or in the end. */
async function eventually<T>(read: () => T, expected: T): Promise<T> {
  const deadline = performance.now() + patient(30_000);
  for (;;) {
    const found = read();
    if (found === expected || performance.now() > deadline) return found;
    await delay(50);
  }
}

describe('the dashboard', { skip: noBrowsing }, () => {
  let browsing: Browsing;
  let page: Page;
  let sandbox: Sandbox;
  before(async () => {
    await ensureDashboard();
    browsing = await Browsing.open();
    const { url, token } = browsing.server;
    sandbox = await Sandbox.create({
      ...{ url, token: `${token.tokenId}:${token.tokenSecret}` },
      ...{ image: 'python:3.11-slim', name: 'shown', timeoutSeconds: 3600 },
      tags: { owner: HOSTILE },
      ports: [8080],
      command: ['sh', '-c', 'echo first line; echo complaint >&2; exec sleep 3600'],
    });
    page = await browsing.page();
    await page.show({ ...DESK, dark: false });
  });
  after(async () => {
    await page?.[Symbol.asyncDispose]();
    await browsing?.[Symbol.asyncDispose]();
  });

  const shows = (text: string) => page.until(`document.body.innerText.includes(${JSON.stringify(text)})`);
  const showsNot = (text: string) => page.until(`!document.body.innerText.includes(${JSON.stringify(text)})`);
  /** Clicks what can be clicked and has that text, once it is there. */
  const click = (text: string) =>
    page.until(`(() => {
      const found = [...document.querySelectorAll('button, a, summary, [role=tab]')]
        .find((each) => each.checkVisibility() && !each.disabled && each.textContent.replace(/\\s+/g, " ").trim() === ${JSON.stringify(text)});
      found?.focus();
      found?.click();
      return found !== undefined;
    })()`);
  /** Types into the field with that label. */
  const fill = async (selector: string, text: string) => {
    await page.until(
      `document.querySelector(${JSON.stringify(selector)})?.focus() ?? document.activeElement?.matches(${JSON.stringify(selector)})`,
    );
    await page.evaluate('document.activeElement.select()');
    await page.type(text);
  };

  /** Nothing that axe finds, in light and dark, on a desk and on a phone, where nothing is wider than the screen; and a picture of it, unless it is a secret. */
  async function lookAt(name: string, secret = false): Promise<void> {
    for (const size of [DESK, PHONE]) {
      for (const dark of [false, true]) {
        await page.show({ ...size, dark });
        await page.evaluate(axe);
        const found = await page.evaluate(
          `axe.run(document).then(({ violations }) => violations.map(({ id, nodes }) => [id, ...nodes.slice(0, 3).map(({ html }) => html)]))`,
        );
        assert.deepEqual(found, [], `${name}, ${size.width} pixels, ${dark ? 'dark' : 'light'}`);
        const wide = await page.evaluate(
          'Math.max(document.documentElement.scrollWidth, document.querySelector("dialog[open]")?.getBoundingClientRect().right ?? 0) - innerWidth',
        );
        assert.ok(Number(wide) <= 0, `${name} is ${wide} pixels too wide for ${size.width}`);
        if (pictures && !secret && (size === DESK) !== dark) {
          mkdirSync(pictures, { recursive: true });
          const suffix = size === PHONE ? '-phone' : '';
          writeFileSync(join(pictures, `dashboard-${name}${suffix}.png`), await page.picture());
        }
      }
    }
    await page.show({ ...DESK, dark: false });
  }

  test('lets nobody in without a token, and in with one', async () => {
    await page.open(`${browsing.serverUrl}/`);
    await shows('Sign in to Skerry');
    await lookAt('sign-in');
    await fill('#token', 'ak-wrong:as-wrong');
    await click('Sign in');
    await shows('Token ID or secret is wrong');
    const { tokenId, tokenSecret } = browsing.server.token;
    await fill('#token', `${tokenId}:${tokenSecret}`);
    await click('Sign in');
    await shows('Sandboxes');
    assert.equal(await page.evaluate('document.cookie'), '', 'scripts see the cookie');
    const stored = JSON.stringify(await page.evaluate('JSON.stringify({ ...localStorage })'));
    assert.ok(!stored.includes(tokenSecret), 'the token itself is kept in the page');
  });

  test('lists sandboxes as they come and go, as text, and finds them', async () => {
    await shows('shown');
    await shows(HOSTILE);
    await page.until('/\\d\\sMiB/.test(document.body.innerText) && /\\d\\s%/.test(document.body.innerText)');
    await lookAt('sandboxes');
    await fill('[type=search]', 'no such thing');
    await shows('None of them matches.');
    await page.open(`${browsing.serverUrl}/#/sandboxes?search=shown+running+python:3.11`);
    await shows(sandbox.id);
    assert.equal(
      await page.evaluate('document.querySelector("[type=search]").value'),
      'shown running python:3.11',
    );

    const { url, token } = browsing.server;
    const other = await Sandbox.create({
      ...{ url, token: `${token.tokenId}:${token.tokenSecret}` },
      ...{ image: 'python:3.11-slim', name: 'passing' },
    });
    await fill('[type=search]', 'passing');
    await shows(other.id);
    await click(`Stop passing`);
    await shows('Stop passing?');
    await click('Stop it');
    await showsNot(other.id);
    assert.equal((await other.wait()).result?.reason, 'terminated');
  });

  test('shows one sandbox, with what it prints, and makes an image of it', async () => {
    await page.open(`${browsing.serverUrl}/#/sandboxes/${sandbox.id}`);
    await shows('Ends at the latest');
    await shows(`owner = ${HOSTILE}`);
    await shows('entrypoint'); // a part of its start
    await shows('Port inside');
    await page.until('/Received\\s+[\\d.]+\\s\\w+, [\\d.]+\\s\\w+\\/s now/.test(document.body.innerText)');
    await lookAt('sandbox');
    await click('Edit tags');
    await page.until('document.querySelector("dialog[open]") !== null');
    await page.press('Escape');
    await page.until('document.querySelector("dialog[open]") === null');
    assert.equal(await page.evaluate('document.activeElement.textContent'), 'Edit tags');
    await click('Edit tags');
    await fill('[aria-label="Name of tag 2"]', 'job');
    await fill('[aria-label="Value of tag 2"]', 'night');
    await lookAt('tags');
    await fill('[aria-label="Name of tag 2"]', 'owner');
    await click('Save tags');
    await shows('There are two tags ‘owner’');
    await fill('[aria-label="Name of tag 2"]', 'job');
    await click('Save tags');
    await shows('job = night');
    assert.deepEqual((await sandbox.refresh()).tags, { owner: HOSTILE, job: 'night' });
    await click('Snapshot');
    await shows('Image: im-');
    if (sandbox.info.isolation === 'gvisor') {
      await click('Fork');
      await shows('Copy: sb-');
    }
    await click('Logs');
    await shows('first line');
    await shows('complaint');
    await lookAt('logs');
    await click('Processes');
    await shows('its main program');
    await lookAt('processes');
    await click('Output of sh -c echo first line; echo complaint >&2; exec sleep 3600');
    await shows('Output of its main program');
    await shows('complaint');
    const flood = sandbox.exec(['sh', '-c', 'yes 0123456789 | head -c 5000000; echo the end of it']);
    await page.open(
      `${browsing.serverUrl}/#/sandboxes/${sandbox.id}/processes/${encodeURIComponent(await flood.id())}`,
    );
    await shows('the end of it');
    const length = Number(await page.evaluate('document.querySelector(".log").textContent.length'));
    assert.ok(length <= 200_000, `${length} characters are kept on the page`);
    await shows('It ended with exit code 0.');
    assert.equal((await flood).exitCode, 0);
  });

  test('has a shell in a sandbox', async () => {
    await click('Terminal');
    await page.until('document.activeElement.matches(".xterm-helper-textarea")');
    const rows = 'document.querySelector(".xterm-rows").textContent';
    await page.until(`${rows}.includes('#')`);
    await page.type('echo $((40 + 2)); stty size');
    await page.press('Enter');
    await page.until(`/[^+ ]42[^+]*\\d+ \\d+/.test(${rows})`);
    await lookAt('terminal');
    await page.press('Escape', 'Shift');
    assert.equal(await page.evaluate('document.activeElement.textContent'), 'New shell');
    await page.evaluate('document.querySelector(".xterm-helper-textarea").focus()');
    await page.type('exit 7');
    await page.press('Enter');
    await shows('The shell ended with exit code 7.');
  });

  test('moves files in and out, and nothing in them runs in its origin', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'dashboard-'));
    try {
      const script = `opener.pwned = parent.pwned = globalThis.pwned = true`;
      const files = {
        [`${HOSTILE.replaceAll('/', '')}.html`]: `<script>${script}</script>`,
        'a.svg': `<svg xmlns="http://www.w3.org/2000/svg"><script>${script}</script></svg>`,
        'a.js': script,
      };
      await page.open(`${browsing.serverUrl}/#/sandboxes/${sandbox.id}/files/%2Ftmp`);
      for (const [name, content] of Object.entries(files)) {
        writeFileSync(join(folder, name), content);
        await page.until('document.querySelector("input[type=file]:enabled") !== null');
        await page.choose('input[type=file]', join(folder, name));
        await shows(name);
        assert.equal(await sandbox.files.readText(`/tmp/${name}`), content);
        rmSync(join(folder, name));
      }
      await lookAt('files');
      await page.downloadInto(folder);
      for (const [name, content] of Object.entries(files)) {
        await click(`Download ${name}`);
        // The browser has its own idea of what a file may be called.
        const whole = () => readdirSync(folder).find((each) => !/\.crdownload$|^\.(org|com)\./.test(each));
        const read = () => readFileSync(join(folder, whole() ?? ''), 'utf8');
        assert.equal(await eventually(() => (whole() === undefined ? undefined : read()), content), content);
        rmSync(join(folder, whole() ?? ''));
      }
      // All that a page could try: the file as a script, as a picture, in a frame, and in place of the page.
      const tried = await page.evaluate(`(async () => {
        const { key } = JSON.parse(localStorage.getItem('skerry-session'));
        const outcomes = [];
        for (const name of ${JSON.stringify(Object.keys(files))}) {
          const path = '/v1/sandboxes/${sandbox.id}/files?path=' + encodeURIComponent('/tmp/' + name);
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
      })()`);
      assert.deepEqual((tried as { pwned: boolean }).pwned, false, JSON.stringify(tried));
      await page.open(`${browsing.serverUrl}/dashboard/api/v1/sandboxes/${sandbox.id}/files?path=/tmp/a.svg`);
      await shows('permission-denied');
      assert.equal(await page.evaluate('globalThis.pwned'), undefined);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
    await page.open(`${browsing.serverUrl}/`);
    await shows('also ended ones');
  });

  test('gives nothing to a page of a sandbox, though it is on the same host and is sent the cookie', async () => {
    await sandbox.files.write('/srv/index.html', 'a page of a sandbox');
    const server = sandbox.exec(['python3', '-m', 'http.server', '8080', '-d', '/srv']);
    server.then(
      () => {},
      () => {},
    );
    const [tunnel] = await sandbox.tunnels();
    assert.ok(tunnel);
    assert.equal(new URL(tunnel.url).hostname, new URL(browsing.serverUrl).hostname);
    await page.open(tunnel.url);
    await shows('a page of a sandbox');
    const list = `${browsing.serverUrl}/dashboard/api/v1/sandboxes`;
    const tried = await page.evaluate(`(async () => {
      const outcome = (url, init) => fetch(url, { credentials: 'include', ...init })
        .then(({ status, type }) => type + ' ' + status, () => 'refused');
      const frame = document.createElement('iframe');
      frame.src = '${browsing.serverUrl}/';
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
        await outcome('${list}'),
        await outcome('${list}', { headers: { 'x-skerry-session': 'x' } }),
        await outcome('${browsing.serverUrl}/dashboard/session', { method: 'DELETE' }),
        localStorage.length,
        framed,
      ];
    })()`);
    assert.deepEqual(tried, ['refused', 'refused', 'refused', 0, 'another origin']);
    // It is still signed in.
    await page.open(`${browsing.serverUrl}/`);
    await shows('also ended ones');
    await shows(sandbox.id);
  });

  test('shows images, volumes, secrets and the machine', async () => {
    await click('Images');
    await shows('python:3.11-slim');
    await lookAt('images');
    await click('python:3.11-slim');
    await shows('History');
    await lookAt('image');
    const { url, token } = browsing.server;
    const connection = { url, token: `${token.tokenId}:${token.tokenSecret}` };
    const volume = await Volume.create('kept', connection);
    await volume.write('/deep/down.txt', 'in a volume');
    await click('Volumes');
    await shows('kept');
    await lookAt('volumes');
    await click('kept');
    await click('deep/');
    await shows('down.txt');
    await lookAt('volume');
    await secrets.put('api', { API_KEY: 'not-to-be-seen' }, connection);
    await click('Secrets');
    await shows('API_KEY');
    await showsNot('not-to-be-seen');
    await lookAt('secrets');
    await click('Machine');
    await shows('What it needs');
    await page.until('document.querySelector("[aria-label=Checks] tbody tr") !== null');
    await shows('memory-snapshots');
    await shows('skopeo');
    await shows('cold:');
    await click('Limits');
    await shows('--max-sandboxes');
    await lookAt('machine');
  });

  test('makes tokens, tells what is used of them, and revokes them', async () => {
    await click('Tokens');
    await click('New token');
    await fill('[name=label]', 'night job');
    await fill('[name=maxSandboxes]', '2');
    await fill('[name=maxMilliCpu]', '4.5');
    await lookAt('new-token');
    await fill('[name=label]', HOSTILE);
    await click('Make it');
    await shows('at most 64 letters');
    await fill('[name=label]', 'night job');
    await click('Make it');
    await shows('A token was made');
    const field = 'document.querySelector("[aria-label=\\"Id and secret\\"]").value';
    const token = String(await page.evaluate(field));
    await lookAt('made-token', true);
    const { url } = browsing.server;
    const { id: madeId } = await Sandbox.create({ url, token, image: 'python:3.11-slim', isolation: 'runc' });
    await click('I have it');
    const [id = '', secret = ''] = token.split(':');
    assert.ok(!String(await page.evaluate('document.documentElement.outerHTML')).includes(secret));
    await page.open(`${browsing.serverUrl}/#/tokens?search=night`);
    await shows('1 of 2');
    await shows('of 4.5');
    await lookAt('tokens');
    await click('Revoke night job');
    await click('Revoke it');
    await showsNot(id);
    await assert.rejects(Sandbox.get(madeId, { url, token }), /Token ID or secret is wrong/);
    // A script that got into the page would not get at what the token's REST key opens.
    const own = `fetch('/dashboard/api/skerry/v1/token', { headers: { 'x-skerry-session': JSON.parse(localStorage.getItem('skerry-session')).key } })`;
    assert.equal(await page.evaluate(`${own}.then(({ status }) => status)`), 404);
  });

  test('lets out who signs out', async () => {
    await click('Sign out');
    await shows('Sign in to Skerry');
    assert.equal(await page.evaluate('localStorage.length'), 0);
    assert.equal(
      await page.evaluate(`fetch('/dashboard/api/v1/sandboxes').then(({ status }) => status)`),
      401,
    );
  });

  test('shows who may only look neither tokens nor what would change anything', async (t) => {
    const { url, token } = browsing.server;
    const headers = { authorization: `Bearer ${token.tokenId}:${token.tokenSecret}` };
    const body = JSON.stringify({ label: 'looks', scope: 'read' });
    const made = await fetch(`${url}/skerry/v1/tokens`, { method: 'POST', headers, body });
    const looks = (await made.json()) as { tokenId: string; tokenSecret: string };
    t.after(() => fetch(`${url}/skerry/v1/tokens/${looks.tokenId}`, { method: 'DELETE', headers }));
    await fill('#token', `${looks.tokenId}:${looks.tokenSecret}`);
    await click('Sign in');
    await shows("scope 'admin'; this one has 'read'");
    await showsNot(looks.tokenId);
    await page.open(`${browsing.serverUrl}/#/sandboxes`);
    await shows(sandbox.id);
    assert.equal(await page.evaluate('/Stop|Tokens/.test(document.body.innerText)'), false);
    await page.open(`${browsing.serverUrl}/#/sandboxes/${sandbox.id}`);
    await shows('Ends at the latest');
    assert.equal(await page.evaluate('/Stop|Snapshot|Edit/.test(document.body.innerText)'), false);
  });
});
