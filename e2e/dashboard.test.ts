/** The dashboard in a real browser: one server, a few sandboxes, every page. `SKERRY_PICTURES=1` writes the pictures of `docs/images/`. */
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { ensureDashboard } from '../scripts/lib/dashboard.mjs';
import { Sandbox } from '../sdk/src/index.ts';
import type { Page } from './support/browser.ts';
import { Browsing, noBrowsing } from './support/browsing.ts';
import { projectRoot } from './support/server.ts';

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const pictures = process.env.SKERRY_PICTURES ? join(projectRoot, 'docs/images') : undefined;
/** As an attacker would name things: it must be read, not run. */
const HOSTILE = '<img src=x onerror="document.title=1">';

const DESK = { width: 1100, height: 700 };
const PHONE = { width: 390, height: 780 };

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

  /** Nothing that axe finds, in light and dark, on a desk and on a phone, where nothing is wider than the screen; and a picture of it. */
  async function lookAt(name: string): Promise<void> {
    for (const size of [DESK, PHONE]) {
      for (const dark of [false, true]) {
        await page.show({ ...size, dark });
        await page.evaluate(axe);
        const found = await page.evaluate(
          `axe.run(document).then(({ violations }) => violations.map(({ id, nodes }) => [id, ...nodes.slice(0, 3).map(({ html }) => html)]))`,
        );
        assert.deepEqual(found, [], `${name}, ${size.width} pixels, ${dark ? 'dark' : 'light'}`);
        const wide = await page.evaluate('document.documentElement.scrollWidth - innerWidth');
        assert.ok(Number(wide) <= 0, `${name} is ${wide} pixels too wide for ${size.width}`);
        if (pictures && (size === DESK) !== dark) {
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
    await lookAt('sandboxes');
    await fill('[type=search]', 'no such thing');
    await shows('None of them matches.');
    await fill('[type=search]', 'shown running python:3.11');
    await shows(sandbox.id);

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

  test('lets out who signs out', async () => {
    await click('Sign out');
    await shows('Sign in to Skerry');
    assert.equal(await page.evaluate('localStorage.length'), 0);
    assert.equal(
      await page.evaluate(`fetch('/dashboard/api/v1/sandboxes').then(({ status }) => status)`),
      401,
    );
  });
});
