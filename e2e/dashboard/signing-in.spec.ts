/** Who gets in, and what is offered to whom. */
import { expect } from '@playwright/test';
import { NOBODY, shows, showsNot, signIn, test } from './fixtures.ts';
import { lookAt } from './look.ts';

test.describe('who is signed in nowhere', () => {
  test.use(NOBODY);

  test('gets in with a token, and not without', async ({ page, owner }) => {
    await page.goto('/');
    await shows(page, 'Sign in to Skerry');
    await lookAt(page, 'sign-in');
    await signIn(page, 'ak-wrong:as-wrong');
    await shows(page, 'Token ID or secret is wrong');
    await signIn(page, owner.token);
    await expect(page.getByRole('heading', { name: 'Sandboxes' })).toBeFocused();
    expect(await page.evaluate('document.cookie'), 'what scripts see of the cookie').toBe('');
    const [, secret = ''] = owner.token.split(':');
    const stored = await page.evaluate('JSON.stringify({ ...localStorage })');
    expect(stored, 'what the page keeps').not.toContain(secret);
  });

  test('with a token that only looks, sees neither tokens nor what would change anything', async ({
    page,
    sandbox,
    owner: { url, token },
  }) => {
    const headers = { authorization: `Bearer ${token}` };
    const body = JSON.stringify({ label: 'looks', scope: 'read' });
    const made = await fetch(`${url}/skerry/v1/tokens`, { method: 'POST', headers, body });
    const looks = (await made.json()) as { tokenId: string; tokenSecret: string };
    await page.goto('/#/tokens');
    await signIn(page, `${looks.tokenId}:${looks.tokenSecret}`);
    await shows(page, "scope 'admin'; this one has 'read'");
    await showsNot(page, looks.tokenId);
    await page.goto('/#/sandboxes');
    await shows(page, sandbox.id);
    await showsNot(page, /Stop|Tokens/);
    await page.goto(`/#/sandboxes/${sandbox.id}`);
    await shows(page, 'Ends at the latest');
    await showsNot(page, /Stop|Snapshot|Edit/);
    // One that is revoked is out at once, wherever it is signed in.
    await fetch(`${url}/skerry/v1/tokens/${looks.tokenId}`, { method: 'DELETE', headers });
    await shows(page, 'Sign in to Skerry');
  });
});

test('who signs out is out', async ({ page }) => {
  await page.goto('/');
  await page.getByRole('button', { name: 'Sign out' }).click();
  await shows(page, 'Sign in to Skerry');
  expect(await page.evaluate('localStorage.length')).toBe(0);
  expect(await page.evaluate(`fetch('/dashboard/api/v1/sandboxes').then(({ status }) => status)`)).toBe(401);
});
