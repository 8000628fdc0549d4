/**
 * `npm run test:soak [-- cycles execs]`: sandboxes that wait, are taken, run a program and end, and execs in one, by the thousand through the official JavaScript client, with what the
 * server takes of the machine after every thousand. Writes the table to `docs/soak.md`. Fails when one of them does, and when mounts or rules are more after the last cycle than after the first thousand.
 * It takes an hour or more and is no part of CI.
 */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { availableParallelism, cpus } from 'node:os';
import { join } from 'node:path';
import type { ModalClient } from 'modal';
import { z } from 'zod';
import { askServer } from '../../cli/src/operator.ts';
import { instanceName } from '../../server/src/engines/oci/layout.ts';
import { run } from '../../server/src/platform/command.ts';
import { delay } from '../../server/src/platform/wait.ts';
import { projectRoot, startServer } from '../support/server.ts';
import { isFull, untilWarm, warmKinds } from '../support/warm-pool.ts';
import { INSPECTABLE, type Inspector, inspectServer } from './server-memory.ts';

const [CYCLES = 10_000, EXECS = 10_000] = process.argv.slice(2).map(Number);
const AT_ONCE = 1000;
const TIMES_AT_ONCE = 3;
const WORKERS = 8;
/** As many wait at each look, so that what is on the machine for them is the same. */
const WAITING = 8;
/** What each exec prints. */
const OUTPUT_KIB = 50;
/** How long the server is left alone before it is looked at: what it frees later than at once it frees then. */
const REST_MS = 10_000;
const RUNTIME = 'runc';

const server = await startServer({
  runtime: RUNTIME,
  warmPool: WAITING,
  freshData: true,
  flags: ['--max-output-mib', '4096'],
  env: INSPECTABLE,
});
const rows: string[] = [];
/** How many cycles were given a sandbox that waited, and how many came when none did. */
let taken = { hits: 0, misses: 0 };
/** Of all sandboxes, those that ended with them: how many there are, and the milliseconds that it takes. */
let list = { count: 0, ms: 0 };
let inspector: Inspector | undefined;
try {
  inspector = await inspectServer(server);
  Object.assign(process.env, server.clientEnv);
  // Only now: it reads the environment when it is loaded.
  const { ModalClient } = await import('modal');
  const modal = new ModalClient();
  const app = await modal.apps.fromName('soak', { createIfMissing: true });
  const image = await modal.images.fromRegistry('python:3.11-slim').build(app);
  const create = () =>
    modal.sandboxes.create(app, image, { command: ['sleep', '86400'], timeoutMs: 86_400_000 });

  const waiting = { image: image.imageId, count: WAITING, forMs: 86_400_000, blockNetwork: false };
  await askServer(server, server.dataDir, { method: 'POST', path: 'warm', body: waiting }, z.unknown());
  await note('at rest, before');
  // What V8 leaves lying is seen only where nobody makes it collect: it is made to once, at the end.
  const looks = await inThousands('cycles', CYCLES, { collected: 'last' }, async () => {
    // None is made while somebody waits for a start: who asks all the time would get few that waited.
    await untilWarm(server, (kinds) => kinds.some((kind) => kind.waiting > 0));
    const sandbox = await create();
    const process = await sandbox.exec(['echo', 'here']);
    const text = await process.stdout.readText();
    const code = await process.wait();
    if (text !== 'here\n' || code !== 0) throw new Error(`an exec ended with ${code} and printed ${text}`);
    await sandbox.terminate();
  });
  for (const { hits, misses } of await warmKinds(server)) taken = { hits, misses };
  list = await timeOfList(modal, app.appId);
  assert.deepEqual(looks.at(-1), looks[0], 'more is on the machine than after the first cycles');

  const sandbox = await create();
  const print = async () => {
    const process = await sandbox.exec(['head', '-c', String(OUTPUT_KIB << 10), '/dev/zero']);
    const text = await process.stdout.readBytes();
    if (text.length !== OUTPUT_KIB << 10) throw new Error(`an exec printed ${text.length} bytes`);
    await process.wait();
  };
  await inThousands('execs', EXECS, { collected: 'each' }, print);

  for (let time = 1; time <= TIMES_AT_ONCE; time++) {
    const together = Array.from({ length: AT_ONCE }, async () => {
      const process = await sandbox.exec(['sh', '-c', 'echo here; read done']);
      await process.stdout.getReader().read();
      return process;
    });
    const processes = await Promise.all(together);
    const what = `${AT_ONCE} execs at once, time ${time}`;
    await note(`${what}, all running`, { collected: false, restMs: 0 });
    await Promise.all(
      processes.map(async (process) => {
        await process.closeStdin();
        await process.wait();
      }),
    );
    await note(`${what}, over`);
  }
  await sandbox.terminate();
  await note('at rest, after');
  modal.close();
} finally {
  inspector?.close(); // a server that is looked at does not end
  await server.stop();
}
writeFileSync(join(projectRoot, 'docs/soak.md'), await page());
process.stdout.write(`Written to docs/soak.md\n`);

/** Does it `count` times, some at once, and looks at the server after every thousand, or three times when they are fewer. */
async function inThousands(
  what: string,
  count: number,
  { collected }: { readonly collected: 'each' | 'last' },
  once: () => Promise<void>,
): Promise<readonly OnMachine[]> {
  const looks: OnMachine[] = [];
  for (let done = 0; done < count; ) {
    const until = Math.min(count, done + Math.min(1000, Math.ceil(count / 3)));
    let next = done;
    const worker = async () => {
      while (next < until) {
        next++;
        await once();
      }
    };
    await Promise.all(Array.from({ length: WORKERS }, worker));
    done = until;
    looks.push(await note(`${done} ${what}`, { collected: collected === 'each' || done === count }));
  }
  return looks;
}

/** What there is of the server on the machine that must not become more. */
interface OnMachine {
  readonly mounts: number;
  readonly rules: number;
}

async function note(what: string, { collected = true, restMs = REST_MS } = {}): Promise<OnMachine> {
  await untilWarm(server, isFull);
  await delay(restMs);
  const name = instanceName(server.dataDir);
  const proc = `/proc/${server.pid}`;
  const field = (key: string) =>
    Number(new RegExp(`^${key}:\\s+(\\d+)`, 'm').exec(readFileSync(`${proc}/status`, 'utf8'))?.[1]);
  const count = (text: string) => text.split('\n').filter((line) => line.includes(name)).length;
  const resident = field('VmRSS') * 1024;
  const live = collected ? await inspector?.collect() : undefined;
  const onMachine = { mounts: count(readFileSync('/proc/mounts', 'utf8')), rules: await linesOfRules(name) };
  const cells = [
    what,
    inMiB(resident),
    inMiB(live?.resident),
    inMiB(live?.heap),
    inMiB(live?.external),
    readdirSync(`${proc}/fd`).filter((fd) => isOpen(`${proc}/fd/${fd}`)).length,
    field('Threads'),
    onMachine.mounts,
    onMachine.rules,
    (await run(['find', '/run', '-maxdepth', '3', '-path', `*${name}*`])).stdout.split('\n').length,
  ];
  rows.push(`| ${cells.join(' | ')} |`);
  process.stdout.write(`${rows.at(-1)}\n`);
  return onMachine;
}

/** In pages, as the clients ask for them; the fastest of three. */
async function timeOfList(modal: ModalClient, appId: string): Promise<typeof list> {
  let best = { count: 0, ms: Number.POSITIVE_INFINITY };
  for (let time = 0; time < 3; time++) {
    const began = performance.now();
    let count = 0;
    for (let beforeTimestamp = 0; ; ) {
      const asked = { appId, beforeTimestamp, environmentName: '', includeFinished: true, tags: [] };
      const { sandboxes } = await modal.cpClient.sandboxList(asked);
      count += sandboxes.length;
      const last = sandboxes.at(-1);
      if (!last) break;
      beforeTimestamp = last.createdAt;
    }
    best = { count, ms: Math.min(best.ms, performance.now() - began) };
  }
  return best;
}

/** Of the server's own tables: others on the machine have theirs. */
async function linesOfRules(name: string): Promise<number> {
  const { stdout } = await run(['nft', 'list', 'tables']);
  const tables = stdout.split('\n').filter((line) => line.includes(name));
  const listed = await Promise.all(
    tables.map((line) => {
      const [, family = '', table = ''] = line.split(' ');
      return run(['nft', 'list', 'table', family, table]);
    }),
  );
  return listed.flatMap(({ stdout: text }) => text.trimEnd().split('\n')).length;
}

function inMiB(bytes: number | undefined): string {
  return bytes === undefined ? '' : (bytes / 2 ** 20).toFixed(0);
}

function isOpen(path: string): boolean {
  try {
    return readlinkSync(path) !== '';
  } catch {
    return false; // closed meanwhile
  }
}

async function page(): Promise<string> {
  const commit = (await run(['git', '-C', projectRoot, 'rev-parse', '--short', 'HEAD'])).stdout.trim();
  return `# Soak

\`npm run test:soak\`, ${new Date().toISOString().slice(0, 10)}, commit ${commit}, ${RUNTIME}, ${availableParallelism()} processors (${cpus()[0]?.model}). ${WORKERS} calls at a
time through the official JavaScript client; each exec prints ${OUTPUT_KIB} KiB, which the client reads. A cycle is a create, an exec of \`echo\` and the end of the sandbox; ${taken.hits} were given
one that waited and ${taken.misses} came when none did, and ${WAITING} wait at each look, with their mounts and rules. A list of the ${list.count} sandboxes that there were by then, page by page, took ${list.ms.toFixed(0)} ms. The server is left alone for ${REST_MS / 1000} s before each row. Output, and the
rows of what is over, stay on disk for \`--keep-output-hours\` and are not counted.

Memory is what the kernel has given the process. V8 lets garbage lie as long as the machine has room: in the creates nobody makes it collect before the
last row, elsewhere each row does, and the three columns behind it are what is left then. The heap is all that is live in JavaScript. What neither heap nor
buffers explain is the program itself, some 60 MiB of it, SQLite, and what malloc keeps of the first thousands to use again.

Entries below /run: the directory of runc's states is there only while it has some.

| after | memory (MiB) | collected: memory | heap | outside the heap | descriptors | threads | mounts | lines of firewall rules | entries below /run |
|---|---|---|---|---|---|---|---|---|---|
${rows.join('\n')}
`;
}
