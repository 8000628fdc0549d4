/**
 * `npm run test:soak [-- creates execs]`: sandboxes and execs by the thousand through the official JavaScript client, with what the server takes of the
 * machine after every thousand. Writes the table to `docs/soak.md`. It takes minutes to an hour and is no part of CI.
 */
import { readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { availableParallelism, cpus } from 'node:os';
import { join } from 'node:path';
import { instanceName } from '../../server/src/engines/oci/layout.ts';
import { run } from '../../server/src/platform/command.ts';
import { delay } from '../../server/src/platform/wait.ts';
import { projectRoot, startServer } from '../support/server.ts';

const [CREATES = 2000, EXECS = 10_000] = process.argv.slice(2).map(Number);
const AT_ONCE = 1000;
const WORKERS = 8;
/** What each exec prints. */
const OUTPUT_KIB = 50;
/** How long the server is left alone before it is looked at: what it frees later than at once it frees then. */
const REST_MS = 10_000;
const RUNTIME = 'runc';

const server = await startServer({ runtime: RUNTIME, freshData: true, flags: ['--max-output-mib', '4096'] });
const rows: string[] = [];
try {
  Object.assign(process.env, server.clientEnv);
  // Only now: it reads the environment when it is loaded.
  const { ModalClient } = await import('modal');
  const modal = new ModalClient();
  const app = await modal.apps.fromName('soak', { createIfMissing: true });
  const image = modal.images.fromRegistry('python:3.11-slim');
  const create = () =>
    modal.sandboxes.create(app, image, { command: ['sleep', '86400'], timeoutMs: 86_400_000 });

  await (await create()).terminate(); // makes the base image
  await note('at rest, before');
  await inThousands('creates and terminates', CREATES, async () => {
    await (await create()).terminate();
  });

  const sandbox = await create();
  const print = async () => {
    const process = await sandbox.exec(['head', '-c', String(OUTPUT_KIB << 10), '/dev/zero']);
    const text = await process.stdout.readBytes();
    if (text.length !== OUTPUT_KIB << 10) throw new Error(`an exec printed ${text.length} bytes`);
    await process.wait();
  };
  await inThousands('execs', EXECS, print);

  const together = Array.from({ length: AT_ONCE }, async () => {
    const process = await sandbox.exec(['sh', '-c', 'echo here; read done']);
    await process.stdout.getReader().read();
    return process;
  });
  const processes = await Promise.all(together);
  await note(`${AT_ONCE} execs at once, all running`, 0);
  await Promise.all(
    processes.map(async (process) => {
      await process.closeStdin();
      await process.wait();
    }),
  );
  await note(`${AT_ONCE} execs at once, over`);
  await sandbox.terminate();
  await note('at rest, after');
  modal.close();
} finally {
  await server.stop();
}
writeFileSync(join(projectRoot, 'docs/soak.md'), await page());
process.stdout.write(`Written to docs/soak.md\n`);

/** Does it `count` times, some at once, and looks at the server after every thousand. */
async function inThousands(what: string, count: number, once: () => Promise<void>): Promise<void> {
  for (let done = 0; done < count; ) {
    const until = Math.min(count, done + 1000);
    let next = done;
    const worker = async () => {
      while (next < until) {
        next++;
        await once();
      }
    };
    await Promise.all(Array.from({ length: WORKERS }, worker));
    done = until;
    await note(`${done} ${what}`);
  }
}

async function note(what: string, restMs = REST_MS): Promise<void> {
  await delay(restMs);
  const name = instanceName(server.dataDir);
  const proc = `/proc/${server.pid}`;
  const field = (key: string) =>
    Number(new RegExp(`^${key}:\\s+(\\d+)`, 'm').exec(readFileSync(`${proc}/status`, 'utf8'))?.[1]);
  const count = (text: string) => text.split('\n').filter((line) => line.includes(name)).length;
  const rules = await run(['nft', '-a', 'list', 'ruleset']);
  const cells = [
    what,
    Math.round(field('VmRSS') / 1024),
    readdirSync(`${proc}/fd`).filter((fd) => isOpen(`${proc}/fd/${fd}`)).length,
    field('Threads'),
    count(readFileSync('/proc/mounts', 'utf8')),
    rules.stdout.split('\n').length,
    (await run(['find', '/run', '-maxdepth', '3', '-path', `*${name}*`])).stdout.split('\n').length,
  ];
  rows.push(`| ${cells.join(' | ')} |`);
  process.stdout.write(`${rows.at(-1)}\n`);
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
time through the official JavaScript client; each exec prints ${OUTPUT_KIB} KiB, which the client reads. The server is left alone for ${REST_MS / 1000} s before each row. Output, and the
rows of what is over, stay on disk for \`--keep-output-hours\` and are not counted.

| after | memory (MiB) | descriptors | threads | mounts | lines of firewall rules | entries below /run |
|---|---|---|---|---|---|---|
${rows.join('\n')}
`;
}
