/** The ways of who has no mouse, and of who has a phone; and addresses that are passed on. */
import { expect } from '@playwright/test';
import { Sandbox } from '../../sdk/src/index.ts';
import { NOBODY, shows, signIn, test } from './fixtures.ts';

test.describe('by keyboard alone', () => {
  test.use(NOBODY);

  test('one signs in, finds a sandbox, and stops it or not', async ({ page, owner }) => {
    const doomed = await Sandbox.create({
      ...owner,
      image: 'python:3.11-slim',
      name: 'doomed',
      isolation: 'runc',
    });
    /** Presses Tab until what has that name has the focus. */
    const tabTo = async (name: string) => {
      const has = page
        .locator(':focus')
        .and(
          page.getByRole('button', { name }).or(page.getByRole('link', { name })).or(page.getByLabel(name)),
        );
      for (let presses = 0; presses < 60; presses++) {
        await page.keyboard.press('Tab');
        if ((await has.count()) > 0) return;
      }
      throw new Error(`no Tab leads to ${name}`);
    };
    await page.goto('/#/sandboxes?search=doomed');
    await tabTo('Token');
    await page.keyboard.type(owner.token);
    await page.keyboard.press('Enter');
    await expect(page.getByRole('heading', { name: 'Sandboxes' })).toBeFocused();
    await shows(page, doomed.id);
    await tabTo('Stop doomed');
    await page.keyboard.press('Enter');
    const question = page.getByRole('dialog', { name: 'Stop doomed?' });
    await expect(question.getByRole('button', { name: 'Keep it' })).toBeFocused();
    await page.keyboard.press('Escape');
    await expect(question).toBeHidden();
    await expect(page.getByRole('button', { name: 'Stop doomed' })).toBeFocused();
    await page.keyboard.press('Enter');
    await tabTo('Stop it');
    await page.keyboard.press('Enter');
    await shows(page, 'None of them matches.');
    expect((await doomed.wait()).result?.reason).toBe('terminated');
    await page.goto('/#/images');
    await expect(page.getByRole('heading', { name: 'Images' })).toBeFocused();
  });
});

test.describe('on a phone', () => {
  test.use({ viewport: { width: 390, height: 780 }, hasTouch: true, isMobile: true });

  test('one goes by taps from the list to what a sandbox prints', async ({ page, sandbox }) => {
    await page.goto('/');
    await page.getByRole('link', { name: 'shown' }).tap();
    await shows(page, 'Ends at the latest');
    await page.getByRole('link', { name: 'Logs' }).tap();
    await shows(page, 'first line');
    await page.getByRole('link', { name: 'Machine' }).tap();
    await expect(page.getByRole('heading', { name: 'Machine' })).toBeVisible();
    await page.goBack();
    await expect(page).toHaveURL(new RegExp(`#/sandboxes/${sandbox.id}/logs$`));
    await shows(page, 'first line');
  });
});

test.describe('an address that was passed on', () => {
  test.use(NOBODY);

  test('leads there after the door', async ({ page, sandbox, owner }) => {
    await page.goto(`/#/sandboxes/${sandbox.id}/files/%2Fusr`);
    await signIn(page, owner.token);
    await shows(page, 'local/');
    await expect(page).toHaveTitle(/Skerry$/);
    await page.goto('/#/no/such/room');
    await shows(page, 'There is nothing here');
    await page.goto('/#/sandboxes/sb-none');
    await shows(page, /not found|no sandbox/i);
  });
});
