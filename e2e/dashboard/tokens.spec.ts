/** Tokens: made, bounded, rotated, revoked; and quotas of environments. */
import { expect } from '@playwright/test';
import { Sandbox, secrets } from '../../sdk/src/index.ts';
import { HOSTILE, shows, showsNot, test } from './fixtures.ts';
import { lookAt } from './look.ts';

test('makes tokens, tells what is used of them, and revokes them', async ({
  dashboard: page,
  owner: { url },
}) => {
  await page.goto('/#/tokens');
  await page.getByText('New token').click();
  const label = page.getByLabel('Label');
  await label.fill('night job');
  await page.getByLabel('Sandboxes at once').fill('2');
  await page.getByLabel('CPU, cores').fill('4.5');
  await lookAt(page, 'new-token');
  await label.fill(HOSTILE);
  const make = page.getByRole('button', { name: 'Make it' });
  await make.click();
  await shows(page, 'at most 64 letters');
  await label.fill('night job');
  await make.click();
  await shows(page, 'A secret was made');
  const token = await page.getByLabel('Id and secret').inputValue();
  await lookAt(page, 'made-token', true);
  const made = await Sandbox.create({ url, token, image: 'python:3.11-slim', isolation: 'runc' });
  await page.getByRole('button', { name: 'I have it' }).click();
  const [id = '', secret = ''] = token.split(':');
  expect(await page.content()).not.toContain(secret);
  await page.goto('/#/tokens?search=night');
  await shows(page, '1 of 2');
  await shows(page, 'of 4.5');
  await lookAt(page, 'tokens');
  await page.getByRole('button', { name: 'Revoke night job' }).click();
  await page.getByRole('button', { name: 'Revoke it' }).click();
  await showsNot(page, id);
  await expect(Sandbox.get(made.id, { url, token })).rejects.toThrow(/Token ID or secret is wrong/);
});

test('does not let a script that got into the page at the key that stands for a token', async ({
  dashboard: page,
}) => {
  await page.goto('/');
  const own = `fetch('/dashboard/api/skerry/v1/token', { headers: { 'x-skerry-session': JSON.parse(localStorage.getItem('skerry-session')).key } })`;
  expect(await page.evaluate(`${own}.then(({ status }) => status)`)).toBe(404);
});

test('gives a token another secret, and lets the one before be good for a while', async ({
  dashboard: page,
  owner: { url, token: ownToken },
}) => {
  const headers = { authorization: `Bearer ${ownToken}` };
  const body = JSON.stringify({ label: 'turning' });
  const issued = await fetch(`${url}/skerry/v1/tokens`, { method: 'POST', headers, body });
  const { tokenId, tokenSecret } = (await issued.json()) as { tokenId: string; tokenSecret: string };
  const isGood = (token: string) =>
    secrets
      .list({ url, token })
      .next()
      .then(
        () => true,
        () => false,
      );
  await page.goto('/#/tokens?search=turning');
  const dialog = page.getByRole('dialog', { name: 'Another secret for turning' });
  const rotate = async (grace: string) => {
    await page.getByRole('button', { name: 'Rotate turning' }).click();
    await dialog.getByLabel('The secret of now is good').selectOption(grace);
    await dialog.getByRole('button', { name: 'Make another' }).click();
    const field = page.getByLabel('Id and secret');
    const made = await field.inputValue();
    await page.getByRole('button', { name: 'I have it' }).click();
    return made;
  };
  await page.getByRole('button', { name: 'Rotate turning' }).click();
  await lookAt(page, 'rotate');
  await dialog.getByRole('button', { name: 'Keep it' }).click();
  const first = `${tokenId}:${tokenSecret}`;
  const second = await rotate('for a day');
  await shows(page, 'the secret before is good until');
  expect(await Promise.all([first, second].map(isGood))).toEqual([true, true]);
  const third = await rotate('not any more');
  await showsNot(page, 'the secret before is good until');
  expect(await Promise.all([first, second, third].map(isGood))).toEqual([false, false, true]);
  await fetch(`${url}/skerry/v1/tokens/${tokenId}`, { method: 'DELETE', headers });
});

test('bounds the sandboxes of an environment', async ({ dashboard: page, sandbox, owner }) => {
  expect(sandbox.info.status).toBe('running'); // it counts
  await page.goto('/#/environments');
  const dialog = page.getByRole('dialog', { name: 'Quotas of main' });
  const change = async (count: string) => {
    await page.getByRole('button', { name: 'Quotas of main' }).click();
    await dialog.getByLabel('Sandboxes at once').fill(count);
  };
  await change('1');
  await dialog.getByLabel('CPU, cores').fill('6.5');
  await lookAt(page, 'quotas');
  await dialog.getByRole('button', { name: 'Save quotas' }).click();
  await shows(page, 'of 6.5');
  await lookAt(page, 'environments');
  const more = { ...owner, image: 'python:3.11-slim', isolation: 'runc' } as const;
  await expect(Sandbox.create(more)).rejects.toThrow(/The environment's quota of sandboxes is 1/);
  await change('');
  await expect(dialog.getByLabel('CPU, cores')).toHaveValue('6.5');
  await dialog.getByLabel('CPU, cores').fill('');
  await dialog.getByRole('button', { name: 'Save quotas' }).click();
  await showsNot(page, 'of 6.5');
  await (await Sandbox.create(more)).terminate();
});
