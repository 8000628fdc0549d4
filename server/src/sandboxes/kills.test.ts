/** A server that is killed at each fault point of a sandbox's life, and what the next one makes of it. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, readdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Limiter } from '../platform/limiter.ts';
import { mountsBelow } from '../platform/mounts.ts';
import { drawn } from '../platform/testing/drawn.ts';
import { Domain, deadline, eventually, output, TEST_APP, TEST_ENVIRONMENT } from './testing/domain.ts';

const program = fileURLToPath(new URL('./testing/killed-server.ts', import.meta.url));
const MOST_AT_ONCE = 3;

/** What the log of a life may say after what. */
const followers: Readonly<Record<string, readonly string[]>> = {
  created: ['starting', 'stopping'],
  starting: ['created', 'placed', 'stopping'],
  placed: ['created', 'running', 'placed', 'stopping'],
  running: ['ready', 'suspended', 'stopping', 'ended'],
  ready: ['suspended', 'stopping', 'ended'],
  suspended: ['placed', 'stopping'],
  stopping: ['ended'],
  ended: [],
};

/** Steps of an instance, from nothing to nothing. */
const steps = [
  ...['prepare.after-files', 'prepare.after-resources', 'prepared', 'start.after-bundle'],
  ...['start.after-runtime', 'start.after-agent', 'bind.after-record', 'bound'],
  ...['destroy.after-halt', 'destroy.after-files'],
];

/** Steps of a volume in a sandbox. */
const volumeSteps = [
  ...['attach.after-row', 'attach.after-mount', 'commit.before-version', 'commit.after-version'],
  ...[
    'reload.before-changes',
    'reload.before-row',
    'detach.after-commit',
    'detach.after-row',
    'detach.after-unmount',
  ],
];

type Errand = 'work' | 'sleep' | 'warm';

/** Runs a server over `root` to its end, or to the point. Gives the lines it said, and whether it was killed. */
function serve(
  root: string,
  point: string,
  errand: Errand = 'work',
): Promise<{ said: string[]; killed: boolean }> {
  return new Promise((resolve, reject) => {
    execFile(process.execPath, [program, root, point, errand], (error, stdout, stderr) => {
      const killed = error?.signal === 'SIGKILL';
      if (error && !killed) reject(new Error(`${point}: ${error.message}\n${stderr}`));
      else resolve({ said: stdout.trim().split('\n'), killed });
    });
  });
}

const scratch = () => mkdtemp(join(tmpdir(), 'skerry-kill-'));

/** What is true whenever the server was killed, once the next one has taken over. */
async function survives(root: string, said: readonly string[]): Promise<void> {
  await using next = await Domain.over(root, { checkpoints: true });
  await next.manager.recover();
  const sandbox = next.manager.list({ limit: 1, includeEnded: true })[0];
  const id = said.find((line) => line.startsWith('created '))?.slice('created '.length);
  if (id !== undefined) assert.equal(sandbox?.id, id, 'who was told of it finds it');
  if (!sandbox) return;
  if (said.includes('terminated')) assert.equal(sandbox.state, 'ended');
  if (sandbox.state !== 'ended' && next.storedState(sandbox) !== 'stopping') {
    assert.ok(!said.includes('terminated'));
    await sandbox.waitUntilRunning(deadline());
    assert.equal(next.manager.findByName(TEST_APP, 'worker', false)?.id, sandbox.id, 'it has its name');
    if (sandbox.spec.readinessProbe) await sandbox.waitUntilReady(60_000, deadline());
    // Of a suspended one this is where it wakes.
    const runs = await output(sandbox, ['sh', '-c', 'cat /runs 2>/dev/null || true']);
    const instance = next.instanceId(sandbox);
    for (const line of await next.engine.traces()) assert.ok(line.includes(instance), `${line} is left`);
    assert.ok(runs === 'run\n' || (runs === '' && !said.includes('ran')), `it ran: ${runs}`);
  }
  await sandbox.terminate();
  await eventually(() => next.manager.size === 0);
  const ended = next.manager.get(sandbox.id);
  assert.deepEqual([ended.state, ended.result], ['ended', { kind: 'terminated' }]);
  assert.deepEqual(await next.engine.traces(), [], 'nothing of it is left');
  await eventually(async () => (await readdir(join(next.dataDir, 'memory-snapshots'))).length === 0);
  await checkVolume(next, said);
  const log = next.store.sandboxes.life(sandbox.taskId).map(({ kind }) => kind);
  assert.equal(log[0], 'created');
  assert.equal(log.at(-1), 'ended');
  for (const [index, kind] of log.entries()) {
    const then = log[index + 1];
    if (then) assert.ok(followers[kind]?.includes(then), `${kind} -> ${then} in ${log}`);
  }
  await next.running({ name: 'worker' });
}

/** What the sandbox wrote is in its volume, and nothing is left of its working tree. */
async function checkVolume(next: Domain, said: readonly string[]): Promise<void> {
  const { id } = next.volumes.lookup(TEST_ENVIRONMENT, 'kept');
  await next.volumeMounts.settle(id);
  const files = await Array.fromAsync(next.volumeFiles.list(id, '/', { recursive: true }));
  const names = files.map(({ path }) => path);
  if (said.includes('committed'))
    for (const name of ['first', 'new.2', 'new.3']) assert.ok(names.includes(name), name);
  if (said.includes('wrote')) assert.ok(names.includes('last'));
  // Trees whose row is gone are removed beside everything else.
  const trees = join(next.dataDir, 'volumes', 'mounted');
  await eventually(async () => (await readdir(trees)).length === 0);
  assert.deepEqual(await mountsBelow(join(next.root, 'v')), []);
  assert.deepEqual(next.store.volumeMounts.all(), []);
}

/** The points a server passes over what `before` made, killed at each, or at some of them. */
async function walk(
  points: readonly string[],
  before: (root: string) => Promise<void>,
  check: (point: string, root: string) => Promise<void>,
): Promise<void> {
  const limiter = new Limiter(MOST_AT_ONCE);
  await Promise.all(
    drawn(points).map((point) =>
      limiter.run(async () => {
        const root = await scratch();
        await before(root);
        await check(point, root).catch((cause: unknown) => {
          throw new Error(`killed at ${point}`, { cause });
        });
      }),
    ),
  );
}

const pointsIn = (said: readonly string[]): string[] => [
  ...new Set(said.flatMap((line) => (line.startsWith('point ') ? [line.slice('point '.length)] : []))),
];

describe('a server that is killed', () => {
  /** Points that were tried already are not tried again. */
  const walked = new Set<string>();

  it('at any edge of a sandbox it made', async () => {
    const root = await scratch();
    const { said } = await serve(root, '');
    await survives(root, said);
    const points = pointsIn(said);
    for (const state of ['starting', 'placed', 'running', 'ready', 'stopping', 'ended']) {
      assert.ok(points.includes(`sandbox.${state}.before-store`), `${points} has no ${state}`);
    }
    for (const point of steps) assert.ok(points.includes(`instance.${point}`), `${points} has no ${point}`);
    for (const point of volumeSteps)
      assert.ok(points.includes(`volume.${point}`), `${points} has no ${point}`);
    for (const point of points) walked.add(point);
    await walk(
      points,
      async () => {},
      async (point, at) => {
        const { said: told, killed } = await serve(at, point);
        assert.ok(killed);
        await survives(at, told);
      },
    );
  });

  it('while a sandbox waits for somebody, and when it has become somebody’s', async () => {
    const root = await scratch();
    const { said } = await serve(root, '', 'warm');
    await survives(root, said);
    const passed = pointsIn(said);
    const points = ['warm.made', 'warm.taken', 'sandbox.placed.before-store', 'instance.bound'];
    for (const point of points) assert.ok(passed.includes(point), `${passed} has no ${point}`);
    assert.ok(passed.indexOf('warm.made') < passed.indexOf('warm.taken'));
    await walk(
      points,
      async () => {},
      async (point, at) => {
        const { said: told, killed } = await serve(at, point, 'warm');
        assert.ok(killed);
        await survives(at, told);
      },
    );
  });

  it('on the way into sleep and out of it', async () => {
    const root = await scratch();
    const { said } = await serve(root, '', 'sleep');
    await survives(root, said);
    const from = said.indexOf('ran');
    const points = pointsIn(said.slice(from, said.indexOf('terminating'))).filter(
      // Of the others each was tried above, and means the same here.
      (point) => !/^(volume\.(attach|commit)|sandbox\.stopping|instance\.prepare)/.test(point),
    );
    for (const point of [
      ...[
        'sandbox.running.after-suspend',
        'instance.checkpoint.after-files',
        'sandbox.suspended.before-store',
      ],
      ...['sandbox.suspended.after-store', 'instance.destroy.after-halt', 'sandbox.suspended.after-wake'],
      ...['instance.bind.after-record#2', 'sandbox.running.before-store#2', 'sandbox.running.after-open#2'],
    ])
      assert.ok(points.includes(point), `${points} has no ${point}`);
    await walk(
      points,
      async () => {},
      async (point, at) => {
        const { said: told, killed } = await serve(at, point, 'sleep');
        assert.ok(killed);
        await survives(at, told);
      },
    );
  });

  for (const left of ['sandbox.starting.after-launch', 'sandbox.running.after-open']) {
    it(`on the way back of a sandbox that another left when it was killed (${left})`, async () => {
      const before = async (root: string) => assert.ok((await serve(root, left)).killed);
      const root = await scratch();
      await before(root);
      const { said } = await serve(root, '');
      await survives(root, said);
      const points = pointsIn(said).filter((point) => !walked.has(point));
      for (const point of points) walked.add(point);
      await walk(points, before, async (point, at) => {
        const { said: told, killed } = await serve(at, point);
        assert.ok(killed);
        await survives(at, told);
      });
    });
  }
});
