/**
 * `npm run bench:memory [-- --rounds N] [--sizes 10,50,500]`: what keeping the memory of a sandbox costs, by how much its programs have (MB, none of it zeros): suspending it, and waking it by an exec;
 * beside it a sandbox that is made anew. All take turns. Needs gVisor. Prints a table and writes it to `results/`.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { z } from 'zod';
import { askServer } from '../cli/src/operator.ts';
import { runtimesToTest } from '../e2e/support/runtimes.ts';
import { startServer } from '../e2e/support/server.ts';
import { ModboxClient, type Sandbox } from '../modbox-sdk/src/index.ts';
import { CleanupScope } from '../server/src/platform/cleanup.ts';
import { createLogger } from '../server/src/telemetry/logger.ts';
import { timed } from './contender.ts';
import { describeMachine } from './machine.ts';
import { summarize } from './statistics.ts';
import { table } from './table.ts';

const IMAGE = 'python:3.11-slim';
const LONG_MS = 600_000;
/** Has so many MB in memory, and says when. */
const HOLD =
  'import os, sys, time; kept = os.urandom(int(sys.argv[1]) * 10**6); open("/held", "w"); time.sleep(10**6)';

interface Measure {
  readonly name: string;
  readonly once: () => Promise<number>;
}

const say = (line: string) => process.stderr.write(`${line}\n`);
const { values } = parseArgs({
  options: { rounds: { type: 'string', default: '5' }, sizes: { type: 'string', default: '10,50,500' } },
});
const rounds = Number(values.rounds);
if (!Number.isInteger(rounds) || rounds < 1 || rounds > 100) {
  throw new RangeError('--rounds must be a whole number from 1 to 100');
}
const sizes = values.sizes.split(',').map(Number);
if (!sizes.every((size) => Number.isInteger(size) && size >= 1 && size <= 10_000)) {
  throw new RangeError('--sizes must be whole numbers of MB from 1 to 10000, comma-separated');
}
const gvisor = (await runtimesToTest()).find(({ runtime }) => runtime === 'gvisor');
if (gvisor?.skip !== false) throw new Error(`There is no gVisor: ${gvisor?.skip}`);

await using cleanup = new CleanupScope(createLogger('error'));
const server = await startServer({ runtime: 'gvisor', flags: ['--log-level', 'warn'] });
cleanup.add('server', () => server.stop());
const { tokenId, tokenSecret } = server.token;
const modbox = new ModboxClient({ baseUrl: server.url, token: `${tokenId}:${tokenSecret}` });

const measures: Measure[] = [{ name: 'create and exec', once: createAndExec }];
for (const size of sizes) {
  say(`preparing ${size} MB`);
  measures.push(...(await sleeping(size)));
}
const samples = new Map<string, number[]>();
for (let round = 0; round <= rounds; round++) {
  say(round === 0 ? 'warming up' : `round ${round} of ${rounds}`);
  for (const { name, once } of measures) {
    const duration = await once();
    if (round > 0) samples.set(name, [...(samples.get(name) ?? []), duration]);
  }
}
const rows = [...samples].map(([name, taken]) => ({ name, summary: summarize(taken) }));
const text = [
  `# Memory of sandboxes: milliseconds, ${rounds} rounds`,
  '',
  ...(await describeMachine()),
  '',
  ...table(rows, ['create and exec']),
  '',
].join('\n');
process.stdout.write(text);
const results = join(import.meta.dirname, 'results');
mkdirSync(results, { recursive: true });
const file = join(results, `${new Date().toISOString().slice(0, 10)}-memory.md`);
writeFileSync(file, text);
say(`written to ${file}`);

async function provision(taskId: string, memoryMiB: number): Promise<Sandbox> {
  await modbox.provisionSandbox({ taskId, imageId: IMAGE, ttlSeconds: 86_400, memoryMiB });
  return modbox.waitForSandbox({ taskId, timeout: LONG_MS / 1000 });
}

async function exec(sandbox: Sandbox, ...argv: string[]): Promise<void> {
  const { exitCode, stderr } = await modbox.connect(sandbox).exec({ argv });
  if (exitCode !== 0) throw new Error(`${argv.join(' ')} ended with status ${exitCode}: ${stderr}`);
}

async function createAndExec(): Promise<number> {
  const duration = await timed(async () => exec(await provision('anew', 512), 'true'));
  await modbox.destroySandbox({ taskId: 'anew' });
  return duration;
}

/** One sandbox that is suspended and woken in turn. */
async function sleeping(size: number): Promise<Measure[]> {
  const sandbox = await provision(`holds-${size}`, size * 2 + 512);
  const script = `setsid python3 -c '${HOLD}' ${size} >/dev/null 2>&1 & while [ ! -e /held ]; do sleep 0.1; done`;
  await exec(sandbox, 'sh', '-c', script);
  const request = {
    method: 'POST',
    path: `sandboxes/${sandbox.sandboxId}/suspend`,
    timeoutMs: LONG_MS,
  } as const;
  return [
    {
      name: `suspend, ${size} MB`,
      once: () => timed(() => askServer(server, server.dataDir, request, z.object({ id: z.string() }))),
    },
    { name: `wake by an exec, ${size} MB`, once: () => timed(() => exec(sandbox, 'true')) },
  ];
}
