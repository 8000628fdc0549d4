/** How `e2e/dashboard.test.ts` has Playwright run what is here. */
import { join } from 'node:path';
import { defineConfig } from '@playwright/test';
import { PAGE_MS } from '../support/browsing.ts';
import { projectRoot } from '../support/server.ts';
import { patient } from '../support/slowness.ts';

export default defineConfig({
  testDir: '.',
  testMatch: '*.spec.ts',
  // One server, and one browser, for all of them (`fixtures.ts`).
  workers: 1,
  forbidOnly: true,
  reporter: 'list',
  timeout: patient(240_000),
  expect: { timeout: PAGE_MS },
  outputDir: join(projectRoot, '.skerry/playwright/results'),
  use: { actionTimeout: PAGE_MS, navigationTimeout: PAGE_MS, screenshot: 'only-on-failure' },
});
