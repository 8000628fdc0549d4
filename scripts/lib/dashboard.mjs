/** The dashboard's files, made anew when a source of them is newer. */
import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { buildDashboard, dashboardDir } from '../../web/build.mjs';
import { root } from './paths.mjs';
import { newestMtimeMs } from './toolchains.mjs';

export async function ensureDashboard() {
  const page = join(dashboardDir, 'index.html');
  const sources = ['web/src', 'web/build.mjs', 'web/package.json', 'sdk/src'].map((path) => join(root, path));
  const newest = Math.max(...sources.map(newestMtimeMs));
  if (existsSync(page) && statSync(page).mtimeMs >= newest) return 'up to date';
  await buildDashboard();
  return 'built';
}
