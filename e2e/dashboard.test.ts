/** The dashboard in a real browser: Playwright runs what is in `dashboard/`. `SKERRY_PICTURES=1` writes the pictures of `docs/images/`. */
import { join } from 'node:path';
import { test } from 'node:test';
import { ensureDashboard } from '../scripts/lib/dashboard.mjs';
import { run } from '../server/src/platform/command.ts';
import { noBrowsing } from './support/browsing.ts';
import { projectRoot } from './support/server.ts';
import { patient } from './support/slowness.ts';

const config = join(projectRoot, 'e2e/dashboard/playwright.config.ts');
const playwright = join(projectRoot, 'node_modules/@playwright/test/cli.js');

test('the dashboard', { skip: noBrowsing }, async (t) => {
  await ensureDashboard();
  const { NODE_TEST_CONTEXT: _, ...environment } = process.env;
  const env = {
    ...environment,
    PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD: '1',
    PWTEST_CACHE_DIR: join(projectRoot, '.skerry/playwright/cache'),
  };
  const argv = [process.execPath, playwright, 'test', '--config', config] as const;
  const onOutput = (text: Buffer) => void process.stdout.write(text);
  await run(argv, { env, timeoutMs: patient(900_000), signal: t.signal, onOutput });
});
