/** What becomes of commands when their launcher, or the process that it starts them for, comes to an end. `command.test.ts` has what commands do otherwise. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { isDeepStrictEqual } from 'node:util';
import { launcherBinaryPath } from '../agent/agent-binary.ts';
import { baseEnvironment, run, startCommandsWith } from './command.ts';
import { killFrame, PROTOCOL, startFrame } from './launcher-frames.ts';
import { ownChildren } from './starter.ts';
import { testLauncher } from './testing/test-launcher.ts';
import { delay } from './wait.ts';

const scratch = await mkdtemp(join(tmpdir(), 'skerry-launcher-'));
after(() => rm(scratch, { recursive: true, force: true }));
let names = 0;
const newFile = () => join(scratch, `file-${names++}`);

/** Whether a process runs; one whose status nobody has taken yet does not. */
const runs = (pid: number): boolean =>
  existsSync(`/proc/${pid}`) && !/\) Z/.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));

async function until(holds: () => boolean): Promise<void> {
  const deadline = AbortSignal.timeout(60_000);
  while (!holds()) await delay(5, deadline);
}

const memoryPeakKiB = (pid: number): number =>
  Number(/VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);

/** The program takes what it reads at once, and a little for itself. */
const MEMORY_BOUND_KIB = 8 << 10;

describe('a launcher', () => {
  afterEach(() => startCommandsWith(ownChildren));

  function launch(program?: string) {
    const made = testLauncher(program);
    startCommandsWith(made.launcher);
    const pid = () => made.launcher.pid ?? assert.fail('there is no process');
    return { ...made, pid };
  }

  test('that is killed takes its commands with it; the next command has a new one', async (t) => {
    const { launcher, warnings, pid } = launch();
    t.after(() => launcher.close());
    const said = Promise.withResolvers<number>();
    const running = run(['sh', '-c', 'sleep 1000 & echo $!; wait'], {
      onOutput: (chunk) => said.resolve(Number(chunk)),
    });
    running.catch(said.reject);
    const grandchild = await said.promise;
    const first = pid();
    process.kill(first, 'SIGKILL');
    await assert.rejects(running, { code: 'internal', message: /^sh was cut off: / });
    await until(() => !runs(grandchild));
    assert.equal((await run(['echo', 'on'])).stdout, 'on\n');
    assert.notEqual(pid(), first);
    assert.deepEqual(warnings, ['launcher.ended']);
  });

  test('takes no signal that asks to end', async (t) => {
    const { launcher, warnings, pid } = launch();
    t.after(() => launcher.close());
    await run(['true']);
    const first = pid();
    for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.kill(first, signal);
    assert.equal((await run(['echo', 'on'])).stdout, 'on\n');
    assert.equal(pid(), first);
    assert.deepEqual(warnings, []);
  });

  test('that cannot be started, or speaks otherwise, leaves commands to this process, and is told once', async () => {
    const otherwise = newFile();
    await writeFile(otherwise, '#!/bin/sh\nexit 2\n');
    await chmod(otherwise, 0o755);
    for (const program of ['/no/such/launcher', '/etc/passwd', otherwise]) {
      const { launcher, warnings } = launch(program);
      const gone = new AbortController();
      const killed = run(['sleep', '1000'], { signal: gone.signal });
      const answers = Promise.all([1, 2, 3].map((n) => run(['sh', '-c', 'cat'], { input: `${n}` })));
      gone.abort(new Error('too early'));
      await assert.rejects(killed, /too early/);
      assert.deepEqual(
        (await answers).map(({ stdout }) => stdout),
        ['1', '2', '3'],
      );
      assert.equal((await run(['echo', 'on'])).stdout, 'on\n');
      await assert.rejects(run(['no-such-program']), /is not installed/);
      assert.equal(launcher.pid, undefined);
      assert.deepEqual(warnings, ['launcher.cannot-start'], program);
    }
  });

  test('ends when it is closed, and commands go on without it', async () => {
    const { launcher, warnings, pid } = launch();
    await run(['true']);
    const idle = pid();
    await launcher.close();
    assert.equal(runs(idle), false);
    assert.equal((await run(['echo', 'on'])).stdout, 'on\n');
    assert.equal(launcher.pid, undefined);
    await launcher.close();
    assert.deepEqual(warnings, []);
  });

  test('that is closed while a command runs ends after it', async () => {
    const { launcher, warnings, pid } = launch();
    const file = newFile();
    const running = run(['sh', '-c', 'until [ -e "$0" ]; do sleep 0.01; done; echo done', file]);
    const busy = pid();
    await launcher.close();
    await writeFile(file, '');
    assert.equal((await running).stdout, 'done\n');
    await until(() => !runs(busy));
    assert.deepEqual(warnings, []);
  });

  test('holds no command up for another that floods it, and stays small', async (t) => {
    const { launcher, pid } = launch();
    t.after(() => launcher.close());
    const ends = Array.from({ length: 8 }, () => {
      const end = new AbortController();
      const flooding = Promise.withResolvers<void>();
      let bytes = 0;
      const ended = run(['cat', '/dev/zero'], {
        signal: end.signal,
        maxOutputBytes: 1,
        onOutput: (chunk) => {
          bytes += chunk.length;
          if (bytes > 32 << 20) flooding.resolve();
        },
      });
      ended.catch(flooding.reject);
      return { end, ended, flooding: flooding.promise };
    });
    await Promise.all(ends.map(({ flooding }) => flooding));
    const input = Buffer.alloc(1 << 20, 'x');
    assert.equal((await run(['cat'], { input })).stdout.length, input.length);
    assert.ok(memoryPeakKiB(pid()) < MEMORY_BOUND_KIB, `${memoryPeakKiB(pid())} KiB`);
    for (const { end, ended } of ends) {
      end.abort(new Error('seen'));
      await assert.rejects(ended, /seen/);
    }
  });
});

test('what nobody hears does not fill the launcher, and commands are started and killed all the same', async (t) => {
  const program = spawn(launcherBinaryPath(), [PROTOCOL, 'test'], { stdio: ['pipe', 'pipe', 'inherit'] });
  t.after(() => program.stdin.end());
  const pid = program.pid ?? assert.fail();
  program.stdout.pause();
  const start = (id: number, ...argv: [string, ...string[]]) =>
    program.stdin.write(
      startFrame(id, { argv, env: baseEnvironment(), discardOutput: false, onOutput: () => {} }),
    );
  const pids = newFile();
  for (const id of [1, 2, 3]) start(id, 'sh', '-c', 'echo $$ >> "$0"; exec cat /dev/zero', pids);
  const written = async () => {
    const flooding = (await readFile(pids, 'utf8')).trim().split('\n').map(Number);
    return flooding.map((pid) => [pid, /^wchar: (\d+)$/m.exec(readFileSync(`/proc/${pid}/io`, 'utf8'))?.[1]]);
  };
  await until(() => existsSync(pids) && readFileSync(pids, 'utf8').split('\n').length === 4);
  // Whenever the launcher takes a command it would take output as well, if there was room for it.
  for (let id = 10, before: unknown; ; id++) {
    const later = newFile();
    start(id, 'touch', later);
    await until(() => existsSync(later));
    assert.ok(memoryPeakKiB(pid) < MEMORY_BOUND_KIB, `${memoryPeakKiB(pid)} KiB`);
    const now = await written();
    if (isDeepStrictEqual(now, before)) break;
    before = now;
  }
  for (const id of [1, 2, 3]) program.stdin.write(killFrame(id));
  const flooding = (await readFile(pids, 'utf8')).trim().split('\n').map(Number);
  await until(() => flooding.every((id) => !runs(id)));
});

describe('the process that a launcher starts commands for', () => {
  const owner = fileURLToPath(new URL('testing/launcher-owner.ts', import.meta.url));
  /** A process that has commands started as it is told, and says who its launcher is. */
  function own(what: string, ...files: string[]) {
    const child = spawn(process.execPath, [owner, what, ...files], { stdio: ['ignore', 'pipe', 'inherit'] });
    const launcher = once(child.stdout, 'data').then(([chunk]) => Number(chunk));
    return { child, launcher, ended: once(child, 'close') };
  }

  test('ends by itself while its launcher idles, which ends with it', async () => {
    const { launcher, ended } = own('idle');
    const pid = await launcher;
    assert.deepEqual(await ended, [0, null]);
    await until(() => !runs(pid));
  });

  test('does not end while it waits for its launcher to end', async () => {
    const { launcher, ended } = own('closing');
    const pid = await launcher;
    assert.deepEqual(await ended, [0, null]);
    assert.equal(runs(pid), false);
  });

  test('when it is killed, its commands go on to their end, whatever they write; then the launcher ends', async () => {
    const [go, done] = [newFile(), newFile()];
    const { child, launcher, ended } = own('working', go, done);
    const pid = await launcher;
    child.kill('SIGKILL');
    await ended;
    assert.equal(runs(pid), true, 'it still has a command');
    await writeFile(go, '');
    await until(() => existsSync(done) && !runs(pid));
  });

  test('when it is killed, a command is not left with the half of its input', async () => {
    const { child, launcher, ended } = own('reading');
    const pid = await launcher;
    child.kill('SIGKILL');
    await ended;
    await until(() => !runs(pid)); // it ends with its last command
  });
});
