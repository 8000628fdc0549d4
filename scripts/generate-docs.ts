/** Writes the documentation that is made from source: the second half of `npm run generate`. */
import { writeFileSync } from 'node:fs';
import { performancePage } from '../bench/performance-page.ts';
import { scalePage } from '../bench/scale/page.ts';
import { configurationPage } from '../server/src/config/configuration-page.ts';

writeFileSync(new URL('../docs/configuration.md', import.meta.url), configurationPage());
writeFileSync(new URL('../docs/scale.md', import.meta.url), await scalePage());
writeFileSync(new URL('../docs/performance.md', import.meta.url), performancePage());
