/** What the dashboard's tests share: one server, one browser on another machine, one sandbox in which there is something to see, and who is signed in. */
import { type BrowserContextOptions, test as base, expect, type Locator, type Page } from '@playwright/test';
import { type ConnectionOptions, Sandbox } from '../../sdk/src/index.ts';
import { Browsing, PAGE_MS } from '../support/browsing.ts';
import { DESK } from './look.ts';

/** As an attacker would name things: it must be read, not run. */
export const HOSTILE = '<img src=x onerror="document.title=1">';

interface OfTheServer {
  browsing: Browsing;
  /** Where the SDK finds the server, as its owner. */
  owner: ConnectionOptions & { readonly url: string; readonly token: string };
  /** It has a main program with output, a tag, and a port that is open. */
  sandbox: Sandbox;
  /** A page of somebody who signed in with the owner's token. One for all tests that need no other: it is wherever the one before left it. */
  dashboard: Page;
  /** What a browser keeps of who is signed in there. */
  signedIn: NonNullable<BrowserContextOptions['storageState']>;
}

export const test = base.extend<object, OfTheServer>({
  browsing: [
    // biome-ignore lint/correctness/noEmptyPattern: Playwright reads from it that nothing is needed
    async ({}, use) => {
      await using browsing = await Browsing.open();
      await use(browsing);
    },
    { scope: 'worker', timeout: 0 },
  ],
  browser: [({ browsing }, use) => use(browsing.browser), { scope: 'worker' }],
  owner: [
    ({ browsing: { server } }, use) =>
      use({ url: server.url, token: `${server.token.tokenId}:${server.token.tokenSecret}` }),
    { scope: 'worker' },
  ],
  sandbox: [
    async ({ owner }, use) => {
      const sandbox = await Sandbox.create({
        ...owner,
        ...{ image: 'python:3.11-slim', name: 'shown', timeoutSeconds: 3600 },
        tags: { owner: HOSTILE },
        ports: [8080],
        command: ['sh', '-c', 'echo first line; echo complaint >&2; exec sleep 3600'],
      });
      await use(sandbox);
    },
    { scope: 'worker', timeout: 0 },
  ],
  dashboard: [
    async ({ browsing, owner }, use) => {
      const page = await browsing.page({ baseURL: browsing.serverUrl, viewport: DESK });
      await page.goto('/');
      await signIn(page, owner.token);
      await expect(page.getByRole('heading', { name: 'Sandboxes' })).toBeVisible({ timeout: PAGE_MS });
      await use(page);
    },
    { scope: 'worker', timeout: 0 },
  ],
  signedIn: [
    async ({ dashboard }, use) => use(await dashboard.context().storageState()),
    { scope: 'worker' },
  ],
  storageState: ({ signedIn }, use) => use(signedIn),
  baseURL: ({ browsing }, use) => use(browsing.serverUrl),
  // biome-ignore lint/correctness/noEmptyPattern: as above
  viewport: ({}, use) => use(DESK),
});

/** For tests in whose browser nobody is signed in. */
export const NOBODY = { storageState: { cookies: [], origins: [] } };

export async function signIn(page: Page, token: string): Promise<void> {
  await page.getByLabel('Token').fill(token);
  await page.getByRole('button', { name: 'Sign in' }).click();
}

/** Waits until the page, or a part of it, shows a text. */
export const shows = (where: Page | Locator, text: string | RegExp): Promise<void> =>
  expect('goto' in where ? where.locator('body') : where).toContainText(text, { useInnerText: true });

export const showsNot = (page: Page, text: string | RegExp): Promise<void> =>
  expect(page.locator('body')).not.toContainText(text, { useInnerText: true });
