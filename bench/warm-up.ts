/**
 * `npm run bench:warm-up [-- --rounds N]`: from a create to the first output of a program that has pandas imported: made anew, given a sandbox that waited, begun from a checkpoint of docs/warm-up.md's program;
 * and the first of those, which takes the checkpoint. All take turns. Needs gVisor, and a package index. Prints a table and writes it to `results/`.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { z } from 'zod';
import { askServer } from '../cli/src/operator.ts';
import { announce, conceal, runSkerry } from '../e2e/support/command.ts';
import { skipWithout } from '../e2e/support/runtimes.ts';
import { projectRoot, startServer } from '../e2e/support/server.ts';
import { ModboxClient } from '../modbox-sdk/src/index.ts';
import { CleanupScope } from '../server/src/platform/cleanup.ts';
import { delay } from '../server/src/platform/wait.ts';
import { createLogger } from '../server/src/telemetry/logger.ts';
import { timed } from './contender.ts';
import { describeMachine } from './machine.ts';
import { publish, say, wholeNumber } from './page.ts';
import { summarize } from './statistics.ts';
import { table } from './table.ts';

const LONG_MS = 600_000;
const PLAIN = 'bench-pandas';
const WARM = 'bench-pandas-warm';
const PROGRAM = 'print(pandas.__version__)';
const alone = ['python3', '-c', `import pandas; ${PROGRAM}`];
const ask = ['python3', '-IS', '/ask.py', PROGRAM];

const { values } = parseArgs({ options: { rounds: { type: 'string', default: '5' } } });
const rounds = wholeNumber('rounds', values.rounds, 100);
const without = await skipWithout('gvisor');
if (without !== false) throw new Error(`There is no gVisor: ${without}`);

await using cleanup = new CleanupScope(createLogger('error'));
const scratch = mkdtempSync(join(tmpdir(), 'bench-warm-up-'));
cleanup.add('scratch', () => rmSync(scratch, { recursive: true }));
const server = await startServer({ runtime: 'gvisor', warmPool: 2, flags: ['--build-runtime', 'runc'] });
cleanup.add('server', () => server.stop());
announce(server);
cleanup.add('state', () => conceal(server));
const { tokenId, tokenSecret } = server.token;
const modbox = new ModboxClient({ baseUrl: server.url, token: `${tokenId}:${tokenSecret}` });

for (const file of ['warm.py', 'ask.py']) writeFileSync(join(scratch, file), programOf(`/${file}`));
const dockerfile = [
  'FROM python:3.11-slim',
  'RUN python3 -m pip install --break-system-packages --no-cache-dir pandas || python3 -m pip install --no-cache-dir pandas',
  'COPY warm.py ask.py /',
];
say('building');
await build(PLAIN, dockerfile);
await build(WARM, [...dockerfile, 'LABEL skerry.warm-up="exec python3 /warm.py"']);

const samples = new Map<string, number[]>();
const note = (name: string, ms: number) => samples.set(name, [...(samples.get(name) ?? []), ms]);
for (let round = 0; round <= rounds; round++) {
  say(round === 0 ? 'warming up' : `round ${round} of ${rounds}`);
  // Nobody else asks for so much memory: nothing waits that fits, and no checkpoint does.
  const memoryMiB = 1024 + round;
  const taken = {
    'made anew': await once(PLAIN, alone, { memoryMiB }),
    'given one that waited': await waiting().then(() => once(PLAIN, alone)),
    'the first with the label': await once(WARM, ask, { memoryMiB }),
    'begun from the checkpoint': await once(WARM, ask),
  };
  for (const [name, ms] of Object.entries(taken)) if (round > 0) note(name, ms);
}
const rows = [...samples].map(([name, taken]) => ({ name, summary: summarize(taken) }));
const text = [
  `# From a create to the first output with pandas imported: milliseconds, ${rounds} rounds`,
  '',
  ...(await describeMachine()),
  '',
  ...table(rows, ['made anew', 'given one that waited']),
  '',
].join('\n');
publish('warm-up', text);

/** A program of the page for users. */
function programOf(path: string): string {
  const page = readFileSync(join(projectRoot, 'docs/warm-up.md'), 'utf8');
  const [, program] = page.split(`\`\`\`python\n# ${path}\n`);
  if (program === undefined) throw new Error(`docs/warm-up.md has no ${path}`);
  return program.slice(0, program.indexOf('```'));
}

async function build(name: string, lines: readonly string[]): Promise<void> {
  writeFileSync(join(scratch, 'Dockerfile'), lines.join('\n'));
  await runSkerry(server, 'image', 'build', scratch, '-t', name);
}

async function once(imageId: string, argv: string[], more: { memoryMiB?: number } = {}): Promise<number> {
  const taskId = 'one';
  const duration = await timed(async () => {
    await modbox.provisionSandbox({ taskId, imageId, ttlSeconds: 3600, ...more });
    const sandbox = await modbox.waitForSandbox({ taskId, timeout: LONG_MS / 1000 });
    const { exitCode, stderr } = await modbox.connect(sandbox).exec({ argv });
    if (exitCode !== 0) throw new Error(`${argv.join(' ')} ended with status ${exitCode}: ${stderr}`);
  });
  await modbox.destroySandbox({ taskId });
  return duration;
}

/** Resolves once one waits. */
async function waiting(): Promise<void> {
  await runSkerry(server, 'warm', PLAIN, '-n', '1', '--for', '1h');
  const answer = z.object({ kinds: z.array(z.object({ waiting: z.number() })) });
  const request = { method: 'GET', path: 'warm' } as const;
  while (!(await askServer(server, server.dataDir, request, answer)).kinds.some((kind) => kind.waiting > 0)) {
    await delay(100);
  }
}
