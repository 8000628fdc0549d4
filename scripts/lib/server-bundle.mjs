/** The server in one file, made anew when a source of it is another. */

import { buildServer } from '../../server/build.mjs';
import { isBundled } from '../../server/bundle.mjs';

export async function ensureServer() {
  if (isBundled()) return 'up to date';
  const { bytes } = await buildServer();
  return `${Math.round(bytes / 1000)} KB`;
}
