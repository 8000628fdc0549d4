/** Images, volumes, secrets and the machine. */
import { expect } from '@playwright/test';
import { secrets, Volume } from '../../sdk/src/index.ts';
import { shows, showsNot, test } from './fixtures.ts';
import { lookAt } from './look.ts';

test('shows images, and what one came out of', async ({ dashboard: page }) => {
  await page.goto('/#/images');
  const image = page.getByRole('link', { name: 'python:3.11-slim' });
  await expect(image).toBeVisible();
  await lookAt(page, 'images');
  await image.click();
  await shows(page, 'History');
  await lookAt(page, 'image');
});

test('shows volumes, and what they hold', async ({ dashboard: page, owner }) => {
  const volume = await Volume.create('kept', owner);
  await volume.write('/deep/down.txt', 'in a volume');
  await page.goto('/#/volumes');
  await shows(page, 'kept');
  await lookAt(page, 'volumes');
  await page.getByRole('link', { name: 'kept' }).click();
  await page.getByRole('link', { name: 'deep/' }).click();
  await shows(page, 'down.txt');
  await lookAt(page, 'volume');
});

test('shows names of secrets, and never their values', async ({ dashboard: page, owner }) => {
  await secrets.put('api', { API_KEY: 'not-to-be-seen' }, owner);
  await page.goto('/#/secrets');
  await shows(page, 'API_KEY');
  await showsNot(page, 'not-to-be-seen');
  await lookAt(page, 'secrets');
});

test('shows the machine', async ({ dashboard: page, sandbox }) => {
  await page.goto('/#/machine');
  const checks = page.getByRole('region', { name: 'Checks' });
  await shows(checks, 'skopeo');
  await shows(page, 'memory-snapshots'); // on the disk
  expect(sandbox.info.status).toBe('running');
  await shows(page, 'cold:'); // the start of it
  await page.getByText('Limits', { exact: true }).click();
  await shows(page, '--max-sandboxes');
  await lookAt(page, 'machine');
});
