/** What came of attacks, for the table of `docs/security.md`: a line of JSON for each in the file that `npm run test:attacks` names. */
import { appendFileSync } from 'node:fs';

export function record(outcome: object): void {
  const path = process.env.SKERRY_TEST_RECORD;
  if (path !== undefined) appendFileSync(path, `${JSON.stringify(outcome)}\n`);
}
