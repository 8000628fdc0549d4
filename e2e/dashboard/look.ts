/** How a page looks, and to whom. `SKERRY_PICTURES=1` writes the pictures of `docs/images/`. */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { expect, type Page } from '@playwright/test';
import { projectRoot } from '../support/server.ts';

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const pictures = process.env.SKERRY_PICTURES ? join(projectRoot, 'docs/images') : undefined;

export const DESK = { width: 1100, height: 700 };
const PHONE = { width: 390, height: 780 };

const violations = `axe.run(document).then(({ violations }) =>
  violations.map(({ id, nodes }) => [id, ...nodes.slice(0, 3).map(({ html }) => html)]))`;
const tooWide = `Math.max(document.documentElement.scrollWidth,
  document.querySelector('dialog[open]')?.getBoundingClientRect().right ?? 0) - innerWidth`;

/**
 * Nothing that axe finds, in light and dark, on a desk and on a phone, where nothing is wider than the screen; and a picture of it.
 * @param secret where there is to be no picture
 */
export async function lookAt(page: Page, name: string, secret = false): Promise<void> {
  if (await page.evaluate('globalThis.axe === undefined')) await page.evaluate(axe);
  for (const size of [DESK, PHONE]) {
    for (const colorScheme of ['light', 'dark'] as const) {
      const which = `${name}, ${size.width} pixels, ${colorScheme}`;
      await page.setViewportSize(size);
      await page.emulateMedia({ colorScheme });
      expect(await page.evaluate(violations), which).toEqual([]);
      expect(await page.evaluate(tooWide), `${which}: pixels too wide`).toBeLessThanOrEqual(0);
      if (pictures && !secret && (size === DESK) === (colorScheme === 'light')) {
        const suffix = size === PHONE ? '-phone' : '';
        await page.screenshot({ path: join(pictures, `dashboard-${name}${suffix}.png`) });
      }
    }
  }
  await page.setViewportSize(DESK);
  await page.emulateMedia({ colorScheme: 'light' });
}
