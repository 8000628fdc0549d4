/**
 * `npm run bench:lists [-- --rounds N]`: what a list of 10,000 sandboxes that ended takes, by the calls of the official JavaScript client, page after page until one is empty. All but one are copies of its row:
 * to run them would take half an hour and change nothing of a list. Prints a page and writes it to `results/`.
 */
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { parseArgs } from 'node:util';
import type { ModalClient } from 'modal';
import { startServer } from '../e2e/support/server.ts';
import { CleanupScope } from '../server/src/platform/cleanup.ts';
import { SQLITE_FILE } from '../server/src/store/sqlite.ts';
import { createLogger } from '../server/src/telemetry/logger.ts';
import { timed } from './contender.ts';
import { describeMachine } from './machine.ts';
import { benchImage, firstOutput, modalClient } from './modal-client.ts';
import { picture, publish, say, today, wholeNumber } from './page.ts';
import { type Summary, summarize } from './statistics.ts';
import { table } from './table.ts';

const COUNT = 10_000;
/** Columns that no two rows may have alike, beside the time of creation. */
const UNIQUE = new Set(['id', 'task_id']);

const { values } = parseArgs({ options: { rounds: { type: 'string', default: '15' } } });
const rounds = wholeNumber('rounds', values.rounds, 1_000);

await using cleanup = new CleanupScope(createLogger('error'));
const dataDir = mkdtempSync(join(tmpdir(), 'bench-lists-'));
cleanup.add('data directory', () => rmSync(dataDir, { recursive: true, force: true }));
say('making one');
await withServer(async (client) => {
  const { app, image } = await benchImage(client);
  const sandbox = await client.sandboxes.create(app, image);
  await firstOutput(sandbox);
  await sandbox.terminate();
});
say(`making ${COUNT} of it`);
multiply();
const summary = await withServer(async (client) => {
  await listAll(client); // the server has read nothing yet
  const times: number[] = [];
  for (let round = 0; round < rounds; round++) times.push(await timed(() => listAll(client)));
  return summarize(times);
});
const title = `A list of ${COUNT} that ended`;
const results = new Map<string, Map<string, Summary>>([[title, new Map([['skerry', summary]])]]);
publish(
  'lists',
  [
    `# ${title}`,
    '',
    `Made by \`npm run bench:lists -- --rounds ${rounds}\` on ${today()}. Milliseconds, by the calls of the official JavaScript client.`,
    '',
    ...(await describeMachine()),
    '',
    picture('lists'),
    '',
    ...table([{ name: 'skerry', summary }], []),
    '',
  ].join('\n'),
  results,
);

async function withServer<T>(work: (client: ModalClient) => Promise<T>): Promise<T> {
  const server = await startServer({ runtime: 'runc', dataDir, flags: ['--log-level', 'warn'] });
  const client = modalClient(server);
  try {
    return await work(client);
  } finally {
    client.close();
    await server.stop();
  }
}

/** Each a millisecond older than the last. */
function multiply(): void {
  using database = new DatabaseSync(join(dataDir, SQLITE_FILE));
  const row = database.prepare('SELECT * FROM sandboxes').get() ?? {};
  const columns = database
    .prepare("SELECT name FROM pragma_table_info('sandboxes')")
    .all()
    .map(({ name }) => String(name));
  const places = columns.map(() => '?').join(', ');
  const insert = database.prepare(`INSERT INTO sandboxes (${columns.join(', ')}) VALUES (${places})`);
  database.exec('BEGIN');
  for (let older = 1; older < COUNT; older++) {
    insert.run(
      ...columns.map((column) => {
        const value = row[column] ?? null;
        if (UNIQUE.has(column)) return another(String(value));
        if (column === 'created_at_ms') return Number(value) - older;
        return column === 'request_key' ? null : value;
      }),
    );
  }
  database.exec('COMMIT');
}

/** An id of the same shape. */
function another(id: string): string {
  const [prefix = ''] = id.split('-');
  const random = randomBytes(id.length).toString('hex');
  return `${prefix}-${random.slice(0, id.length - prefix.length - 1)}`;
}

async function listAll({ cpClient }: ModalClient): Promise<void> {
  let seen = 0;
  for (let beforeTimestamp = 0; ; ) {
    const { sandboxes } = await cpClient.sandboxList({
      ...{ appId: '', environmentName: '', includeFinished: true, tags: [] },
      beforeTimestamp,
    });
    const last = sandboxes.at(-1);
    if (!last) break;
    seen += sandboxes.length;
    beforeTimestamp = last.createdAt;
  }
  if (seen !== COUNT) throw new Error(`${seen} are listed, not ${COUNT}`);
}
