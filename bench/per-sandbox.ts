/**
 * `npm run bench:sandboxes [-- --sandboxes N]`: what each sandbox that idles takes of the machine and of the server, and what the server writes to its database for a create, an exec and an end. Counts
 * and sizes of this server's own, no timings: so it does not matter what else the machine does. By the official JavaScript client. Prints a page and writes it to `results/`; docs/scale.md is made of it.
 */
import { copyFileSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { parseArgs } from 'node:util';
import type { Sandbox } from 'modal';
import { INSPECTABLE, inspectServer } from '../e2e/soak/server-memory.ts';
import { inventory } from '../e2e/support/inventory.ts';
import { runtimesToTest } from '../e2e/support/runtimes.ts';
import { startServer, type TestServer } from '../e2e/support/server.ts';
import { configSchema } from '../server/src/config/config.ts';
import { podOf, secretOf } from '../server/src/engines/kubernetes/pod-spec.ts';
import { newInstanceId, newLayerId } from '../server/src/ids.ts';
import { run } from '../server/src/platform/command.ts';
import { describeMachine } from './machine.ts';
import { benchImage, modalClient } from './modal-client.ts';
import { publish, say, today, wholeNumber } from './page.ts';
import { logLength } from './sqlite-log.ts';

const LIFE_MS = 3_600_000;
/** How many are made at once. */
const AT_ONCE = 4;
/** How often a create, an exec and an end are done between two looks at the database's log: few enough that it is seldom begun anew. */
const TIMES = 10;
const TRIES = 5;
const KIB = 1024;

const { values } = parseArgs({ options: { sandboxes: { type: 'string', default: '50' } } });
const count = wholeNumber('sandboxes', values.sandboxes, 1000);

const sections: string[] = [];
for (const { runtime, skip } of await runtimesToTest()) {
  if (skip !== false) say(`not measured: ${runtime}: ${skip}`);
  else sections.push(...(await under(runtime)));
}
publish(
  'per-sandbox',
  [
    '# What each sandbox takes',
    '',
    `Made by \`npm run bench:sandboxes -- --sandboxes ${count}\` on ${today()}.`,
    '',
    ...(await describeMachine()),
    '',
    `What there was more beside ${count} sandboxes of \`debian:bookworm-slim\` that run \`sleep\` than beside none, divided by their number; the memory of the server after forced collections. Memory of`,
    'processes is proportional (PSS): pages that several have are divided among them. Writes are those of the database’s log, by sandboxes one after the other. A Pod is as the engine makes it, as JSON.',
    '',
    ...sections,
    ...podSection(),
  ].join('\n'),
);

async function under(runtime: 'runc' | 'gvisor'): Promise<string[]> {
  say(runtime);
  const server = await startServer({ runtime, freshData: true, env: INSPECTABLE });
  const inspector = await inspectServer(server);
  const client = modalClient(server);
  const sandboxes: Sandbox[] = [];
  try {
    const { app, image } = await benchImage(client);
    const create = async () => {
      const sandbox = await client.sandboxes.create(app, image, {
        command: ['sleep', 'infinity'],
        timeoutMs: LIFE_MS,
      });
      sandboxes.push(sandbox);
      return exec(sandbox);
    };
    const end = async () => sandboxes.pop()?.terminate();
    await create();
    await end(); // what is made once for all is there
    const look = async () => {
      const { resident } = await inspector.collect();
      return { 'memory of the server (KiB)': resident / KIB, ...(await taken(server)) };
    };
    const before = await look();
    const rowsBefore = rowsOf(server);
    while (sandboxes.length < count)
      await Promise.all(Array.from({ length: Math.min(AT_ONCE, count - sandboxes.length) }, create));
    const after = await look();
    const each = Object.entries(after).map(([what, now]) => {
      // The same look, so the same keys.
      const then = before[what as keyof typeof before];
      return `| ${what} | ${rounded((now - then) / count)} |`;
    });
    const rows = [...rowsOf(server)].flatMap(([table, now]) => {
      const more = (now - (rowsBefore.get(table) ?? 0)) / count;
      return more > 0 ? [`| ${table} | ${rounded(more)} |`] : [];
    });
    const [sandbox] = sandboxes;
    const written = [
      ['create, with one exec', await writes(server, create)],
      ['exec', await writes(server, async () => sandbox && exec(sandbox))],
      ['end', await writes(server, end)],
    ] as const;
    return [
      ...[`## Each idle sandbox, ${runtime}`, '', '| what | each |', '| --- | ---: |', ...each, ''],
      ...[
        `## Rows of the database, ${runtime}`,
        '',
        '| table | for each, with one exec |',
        '| --- | ---: |',
        ...rows,
        '',
      ],
      ...[
        `## Writes to the database, ${runtime}`,
        '',
        '| for each | transactions | KiB |',
        '| --- | ---: | ---: |',
      ],
      ...written.map(
        ([what, { transactions, kib }]) => `| ${what} | ${rounded(transactions)} | ${rounded(kib)} |`,
      ),
      '',
    ];
  } finally {
    inspector.close(); // a server that is looked at does not end
    while (sandboxes.length > 0)
      await Promise.all(sandboxes.splice(0, AT_ONCE).map((each) => each.terminate()));
    client.close();
    await server.stop();
  }
}

async function exec(sandbox: Sandbox): Promise<void> {
  const process = await sandbox.exec(['true']);
  if ((await process.wait()) !== 0) throw new Error('an exec failed');
}

/** What there is of a server and its sandboxes on the machine. */
async function taken(server: TestServer) {
  const lines = await inventory(server.dataDir);
  const of = (kind: string) => lines.filter((line) => line.startsWith(`${kind} `)).length;
  const pids = lines
    .flatMap((line) => /^process (\d+) /.exec(line)?.[1] ?? [])
    .filter((pid) => Number(pid) !== server.pid);
  const sum = (ofEach: (pid: string) => number) => pids.reduce((total, pid) => total + ofEach(pid), 0);
  const disk = (await run(['du', '--summarize', '--block-size=1K', server.dataDir])).stdout;
  return {
    'descriptors of the server': descriptors(`${server.pid}`),
    'processes on the machine': pids.length,
    'their memory (KiB)': sum(memoryKiB),
    'their descriptors': sum(descriptors),
    'their threads': sum((pid) => entries(`/proc/${pid}/task`)),
    'mounts of the server': readFileSync(`/proc/${server.pid}/mountinfo`, 'utf8').split('\n').length,
    'network devices': of('link'),
    'control groups': of('cgroup'),
    'loop devices': loops(server.dataDir),
    'disk (KiB)': Number.parseInt(disk, 10),
  };
}

function entries(directory: string): number {
  try {
    return readdirSync(directory).length;
  } catch {
    return 0; // ended meanwhile
  }
}

function descriptors(pid: string): number {
  return entries(`/proc/${pid}/fd`);
}

function memoryKiB(pid: string): number {
  try {
    return Number(/^Pss:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'))?.[1] ?? 0);
  } catch {
    return 0; // likewise
  }
}

/** Those whose file is in the data directory. */
function loops(dataDir: string): number {
  const isOurs = (name: string): boolean => {
    try {
      return readFileSync(`/sys/block/${name}/loop/backing_file`, 'utf8').startsWith(dataDir);
    } catch {
      return false; // it has none
    }
  };
  return readdirSync('/sys/block').filter(isOurs).length;
}

/** Of each table. The server has its database for itself, so this is read of a copy. */
function rowsOf({ dataDir }: TestServer): ReadonlyMap<string, number> {
  const directory = mkdtempSync(join(tmpdir(), 'bench-rows-'));
  try {
    for (const name of ['skerry.db', 'skerry.db-wal'])
      copyFileSync(join(dataDir, name), join(directory, name));
    const database = new DatabaseSync(join(directory, 'skerry.db'));
    const tables = database.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'").all();
    const counts = tables.map(({ name }) => {
      const row = database.prepare(`SELECT count(*) AS count FROM "${name}"`).get();
      return [String(name), Number(row?.count)] as const;
    });
    database.close();
    return new Map(counts);
  } finally {
    rmSync(directory, { recursive: true });
  }
}

/** What doing it once writes. @throws Error when the log was begun anew each time */
async function writes(server: TestServer, once: () => Promise<unknown>) {
  const log = () => logLength(join(server.dataDir, 'skerry.db-wal'));
  for (let tries = 0; tries < TRIES; tries++) {
    const before = log();
    for (let time = 0; time < TIMES; time++) await once();
    const after = log();
    if (before.salt !== after.salt) continue;
    const kib = (after.bytes - before.bytes) / KIB / TIMES;
    return { transactions: (after.transactions - before.transactions) / TIMES, kib };
  }
  throw new Error('the log of the database was begun anew each time');
}

/** What a sandbox is to Kubernetes: the lines of its section. */
function podSection(): string[] {
  const settings = configSchema.parse({});
  const of = { id: newInstanceId(), serverId: 'a'.repeat(32), member: undefined, namespace: 'sandboxes' };
  const limits = {
    memoryMiB: settings.defaultMemoryMiB,
    ...{ milliCpu: settings.defaultMilliCpu, milliCpuRequest: settings.defaultMilliCpu },
    pids: settings.defaultPids,
  };
  const image = `registry.example/skerry:${'a'.repeat(64)}`;
  const owner = '00000000-0000-0000-0000-000000000000';
  const made = podOf({
    layers: [newLayerId()],
    volumes: [],
    ...{ ...of, runtimeClass: undefined, image, agentImage: image, hostname: 'sandbox', limits, owner },
    ...{ network: { kind: 'open' }, nameservers: [], pullSecret: undefined },
    ...{ runtime: 'runc', gpus: undefined, gateway: undefined, certificates: undefined },
  });
  // A certificate and a key of a curve, as DER, are some hundred bytes each.
  const der = Buffer.alloc(512);
  const secret = secretOf(of, { certificate: der, authority: der, key: der });
  const { initContainers = [], containers = [] } = made.spec ?? {};
  return [
    ...['## A Pod', '', '| what | |', '| --- | ---: |'],
    `| bytes of it and its Secret | ${JSON.stringify(made).length + JSON.stringify(secret).length} |`,
    `| containers that start | ${initContainers.length + containers.length} |`,
    `| containers that run | ${containers.length} |`,
    '',
  ];
}

function rounded(value: number): string {
  return String(Math.round(value * 10) / 10);
}
