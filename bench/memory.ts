/**
 * `npm run bench:memory [-- --rounds N] [--sizes 10,50,500]`: what keeping the memory of a sandbox costs, by how much its programs have (MB, none of it zeros): suspending it, and waking it by an exec;
 * a checkpoint, for how long programs stand still in it and where its time goes, a restore, and forks; beside it a sandbox that is made anew. All take turns. Needs gVisor. Prints a table and writes it to `results/`.
 */
import { parseArgs } from 'node:util';
import { z } from 'zod';
import { callControlPlane } from '../cli/src/control-plane.ts';
import { askServer } from '../cli/src/operator.ts';
import { skipWithout } from '../e2e/support/runtimes.ts';
import { startServer } from '../e2e/support/server.ts';
import { ModboxClient, type Sandbox } from '../modbox-sdk/src/index.ts';
import { CleanupScope } from '../server/src/platform/cleanup.ts';
import { createLogger } from '../server/src/telemetry/logger.ts';
import { timed } from './contender.ts';
import { describeMachine } from './machine.ts';
import { publish, say, wholeNumber } from './page.ts';
import { summarize } from './statistics.ts';
import { table } from './table.ts';

const IMAGE = 'python:3.11-slim';
const LONG_MS = 600_000;
/** Has so many MB in memory, and says when; whoever makes /ask finds in /gap for how many ms at most it stood still since the last time. */
const HOLD = `
import os, sys, time
kept = os.urandom(int(sys.argv[1]) * 10**6); open("/held", "w")
gap, last = 0, time.time()
while True:
    now = time.time(); gap = max(gap, now - last); last = now
    if os.path.exists("/ask"):
        open("/.gap", "w").write(str(gap * 1000)); os.rename("/.gap", "/gap"); os.remove("/ask"); gap = 0
    time.sleep(0.002)
`;
/** Parts of a checkpoint as the server's log tells them; programs stand still for the middle four. */
const PHASES = ['settle', 'copy', 'pause', 'memory', 'files', 'resume', 'keep'] as const;
const FORKS = [1, 5] as const;
const checkpointSchema = z.object({ phases: z.record(z.string(), z.number()) });

interface Measure {
  readonly name: string;
  readonly once: () => Promise<number>;
}

const { values } = parseArgs({
  options: { rounds: { type: 'string', default: '5' }, sizes: { type: 'string', default: '10,50,500' } },
});
const rounds = wholeNumber('rounds', values.rounds, 100);
const sizes = values.sizes.split(',').map(Number);
if (!sizes.every((size) => Number.isInteger(size) && size >= 1 && size <= 10_000)) {
  throw new RangeError('--sizes must be whole numbers of MB from 1 to 10000, comma-separated');
}
const without = await skipWithout('gvisor');
if (without !== false) throw new Error(`There is no gVisor: ${without}`);

await using cleanup = new CleanupScope(createLogger('error'));
const server = await startServer({ runtime: 'gvisor', flags: ['--log-level', 'info'] });
cleanup.add('server', () => server.stop());
const { tokenId, tokenSecret } = server.token;
const access = { url: server.url, token: `${tokenId}:${tokenSecret}` };
const modbox = new ModboxClient({ baseUrl: access.url, token: access.token });

const samples = new Map<string, number[]>();
const note = (name: string, ms: number) => samples.set(name, [...(samples.get(name) ?? []), ms]);
const measures: Measure[] = [{ name: 'create and exec', once: createAndExec }];
for (const size of sizes) {
  say(`preparing ${size} MB`);
  measures.push(...(await sleeping(size)));
}
for (let round = 0; round <= rounds; round++) {
  say(round === 0 ? 'warming up' : `round ${round} of ${rounds}`);
  for (const { name, once } of measures) {
    const duration = await once();
    if (round > 0) note(name, duration);
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
publish('memory', text);

async function provision(taskId: string, memoryMiB: number): Promise<Sandbox> {
  await modbox.provisionSandbox({ taskId, imageId: IMAGE, ttlSeconds: 86_400, memoryMiB });
  return modbox.waitForSandbox({ taskId, timeout: LONG_MS / 1000 });
}

async function exec(sandbox: Sandbox, ...argv: string[]): Promise<string> {
  const { exitCode, stdout, stderr } = await modbox.connect(sandbox).exec({ argv });
  if (exitCode !== 0) throw new Error(`${argv.join(' ')} ended with status ${exitCode}: ${stderr}`);
  return stdout;
}

async function createAndExec(): Promise<number> {
  const duration = await timed(async () => void (await exec(await provision('anew', 512), 'true')));
  await modbox.destroySandbox({ taskId: 'anew' });
  return duration;
}

/** One sandbox that is suspended and woken, kept, restored and forked in turn. */
async function sleeping(size: number): Promise<Measure[]> {
  const sandbox = await provision(`holds-${size}`, size * 2 + 512);
  const script = `setsid python3 -c "$0" ${size} >/dev/null 2>&1 & while [ ! -e /held ]; do sleep 0.1; done`;
  await exec(sandbox, 'sh', '-c', script, HOLD);
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
    ...copying(sandbox, size),
  ];
}

function copying(sandbox: Sandbox, size: number): Measure[] {
  const { sandboxId: taskId } = sandbox;
  let checkpointId = '';
  const stoodStill = async () =>
    Number(await exec(sandbox, 'sh', '-c', 'touch /ask; while [ -e /ask ]; do sleep 0.01; done; cat /gap'));
  const keep = async () => {
    ({ checkpointId } = await modbox.createCheckpoint({ taskId }));
  };
  return [
    {
      name: `checkpoint, ${size} MB`,
      once: async () => {
        const duration = await timed(keep);
        for (const [phase, ms] of lastPhases()) note(`checkpoint, ${size} MB: ${phase}`, ms);
        return duration;
      },
    },
    {
      name: `checkpoint, ${size} MB: a program stands still`,
      once: async () => {
        await stoodStill();
        await keep();
        return stoodStill();
      },
    },
    { name: `restore and exec, ${size} MB`, once: () => restore(checkpointId) },
    ...FORKS.map((count) => ({
      name: `fork of ${count}, ${size} MB`,
      once: async () => {
        let made: readonly Sandbox[] = [];
        const duration = await timed(async () => {
          made = await modbox.forkSandbox({ taskId, count });
        });
        await Promise.all(made.map((copy) => modbox.destroySandbox({ taskId: copy.sandboxId })));
        return duration;
      },
    })),
  ];
}

async function restore(snapshotId: string): Promise<number> {
  const request = { snapshotId, sandboxNameOverrideType: 'SANDBOX_NAME_OVERRIDE_TYPE_NONE' };
  const answer = z.object({ sandboxId: z.string() });
  let taskId = '';
  const duration = await timed(async () => {
    const restored = await callControlPlane(access, 'SandboxRestoreV2', request, answer);
    taskId = restored.sandboxId;
    await exec(await modbox.waitForSandbox({ taskId, timeout: LONG_MS / 1000 }), 'true');
  });
  await modbox.destroySandbox({ taskId });
  return duration;
}

/** Of the last checkpoint. */
function lastPhases(): [string, number][] {
  const lines = server.log().split('\n');
  const line = lines.findLast((each) => each.includes('"instance.checkpoint"'));
  const { phases } = checkpointSchema.parse(JSON.parse(line ?? '{"phases":{}}'));
  return PHASES.flatMap((phase): [string, number][] => {
    const ms = phases[phase];
    return ms === undefined ? [] : [[phase, ms]];
  });
}
