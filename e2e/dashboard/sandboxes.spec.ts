/** The list of sandboxes, and one of them: what it is, prints, runs, and a shell in it. */
import { expect } from '@playwright/test';
import { Sandbox } from '../../sdk/src/index.ts';
import { HOSTILE, shows, test } from './fixtures.ts';
import { lookAt } from './look.ts';

test('lists sandboxes as they come and go, as text, and finds them', async ({
  dashboard: page,
  sandbox,
  owner,
}) => {
  await page.goto('/');
  const list = page.getByRole('region', { name: 'Sandboxes' });
  await shows(list, 'shown');
  await shows(list, HOSTILE);
  await shows(list, /\d\sMiB/);
  await shows(list, /\d\s%/);
  await lookAt(page, 'sandboxes');
  const search = page.getByLabel('Search');
  await search.fill('no such thing');
  await shows(page, 'None of them matches.');
  await page.goto('/#/sandboxes?search=shown+running+python:3.11');
  await shows(list, sandbox.id);
  await expect(search).toHaveValue('shown running python:3.11');

  const other = await Sandbox.create({ ...owner, image: 'python:3.11-slim', name: 'passing' });
  await search.fill('passing');
  await shows(list, other.id);
  await page.getByRole('button', { name: 'Stop passing' }).click();
  const question = page.getByRole('dialog', { name: 'Stop passing?' });
  await question.getByRole('button', { name: 'Stop it' }).click();
  await expect(list).not.toContainText(other.id);
  expect((await other.wait()).result?.reason).toBe('terminated');
});

test('shows one sandbox, changes its tags, and makes an image of it', async ({
  dashboard: page,
  sandbox,
}) => {
  await page.goto(`/#/sandboxes/${sandbox.id}`);
  await shows(page, 'Ends at the latest');
  await shows(page, `owner = ${HOSTILE}`);
  await shows(page, 'entrypoint'); // a part of its start
  await shows(page, 'Port inside');
  await shows(page, /Received\s+[\d.]+\s\w+, [\d.]+\s\w+\/s now/);
  await lookAt(page, 'sandbox');

  const edit = page.getByRole('button', { name: 'Edit tags' });
  const dialog = page.getByRole('dialog', { name: 'Tags of shown' });
  await edit.click();
  await expect(dialog).toBeVisible();
  await page.keyboard.press('Escape');
  await expect(dialog).toBeHidden();
  await expect(edit).toBeFocused();
  await edit.click();
  const name = dialog.getByLabel('Name of tag 2');
  await name.fill('job');
  await dialog.getByLabel('Value of tag 2').fill('night');
  await lookAt(page, 'tags');
  await name.fill('owner');
  const save = dialog.getByRole('button', { name: 'Save tags' });
  await save.click();
  await shows(dialog, 'There are two tags ‘owner’');
  await name.fill('job');
  await save.click();
  await shows(page, 'job = night');
  expect((await sandbox.refresh()).tags).toEqual({ owner: HOSTILE, job: 'night' });

  await page.getByRole('button', { name: 'Snapshot' }).click();
  await shows(page, 'Image: im-');
  if (sandbox.info.isolation === 'gvisor') {
    await page.getByRole('button', { name: 'Fork' }).click();
    await shows(page, 'Copy: sb-');
  }
});

test('shows what programs print, and no more than a page can hold', async ({ dashboard: page, sandbox }) => {
  await page.goto(`/#/sandboxes/${sandbox.id}`);
  await page.getByRole('link', { name: 'Logs' }).click();
  await shows(page, 'first line');
  await shows(page, 'complaint');
  await lookAt(page, 'logs');
  await page.getByRole('link', { name: 'Processes' }).click();
  await shows(page, 'its main program');
  await lookAt(page, 'processes');
  await page.getByRole('link', { name: 'Output of sh -c echo first line' }).click();
  await shows(page, 'Output of its main program');
  await shows(page, 'complaint');

  const flood = sandbox.exec(['sh', '-c', 'yes 0123456789 | head -c 5000000; echo the end of it']);
  await page.goto(`/#/sandboxes/${sandbox.id}/processes/${encodeURIComponent(await flood.id())}`);
  await shows(page, 'the end of it');
  expect((await page.locator('.log').textContent())?.length).toBeLessThanOrEqual(200_000);
  await shows(page, 'It ended with exit code 0.');
  expect((await flood).exitCode).toBe(0);
});

test('has a shell in a sandbox', async ({ dashboard: page, sandbox }) => {
  await page.goto(`/#/sandboxes/${sandbox.id}/terminal`);
  const typing = page.locator('.xterm-helper-textarea');
  const rows = page.locator('.xterm-rows');
  await expect(typing).toBeFocused();
  await expect(rows).toContainText('#');
  await page.keyboard.type('echo $((40 + 2)); stty size');
  await page.keyboard.press('Enter');
  await expect(rows).toContainText(/[^+ ]42[^+]*\d+ \d+/);
  await lookAt(page, 'terminal');
  await page.keyboard.press('Shift+Escape');
  await expect(page.getByRole('button', { name: 'New shell' })).toBeFocused();
  await typing.focus();
  await page.keyboard.type('exit 7');
  await page.keyboard.press('Enter');
  await shows(page, 'The shell ended with exit code 7.');
});
