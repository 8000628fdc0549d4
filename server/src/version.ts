/** The version of this server, from its package. */
import { readFileSync } from 'node:fs';

export const VERSION: string = String(
  JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')).version,
);
