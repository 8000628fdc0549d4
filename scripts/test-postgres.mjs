/** The server's unit tests once more, with their records in a PostgreSQL of their own: `npm run test:postgres [-- pattern ...]`. */
import { globSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { noPostgres, TestPostgres } from '../server/src/store/testing/postgres.ts';
import { root } from './lib/paths.mjs';
import { runMain } from './lib/step.mjs';
import { runTests } from './lib/test-runner.mjs';

const TIMEOUT_MS = 900_000;

await runMain(async () => {
  if (noPostgres !== false) throw new Error(noPostgres);
  const patterns = process.argv.slice(2);
  const files = globSync('server/src/**/*.test.ts', { cwd: root }).filter(
    (path) => patterns.length === 0 || patterns.some((pattern) => path.includes(pattern)),
  );
  const postgres = await TestPostgres.start();
  try {
    const variable = JSON.stringify({ createdb: postgres.createdb, url: postgres.url('NAME') });
    const env = { ...process.env, SKERRY_TEST_POSTGRES: variable };
    return await runTests(files, { timeoutMs: TIMEOUT_MS, concurrency: availableParallelism() + 1, env });
  } finally {
    await postgres.stop();
  }
});
