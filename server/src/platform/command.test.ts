import assert from 'node:assert/strict';
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { SkerryError } from '../errors/skerry-error.ts';
import { run, startCommandsWith } from './command.ts';
import { ownChildren } from './starter.ts';
import { testLauncher } from './testing/test-launcher.ts';

const failure = (pattern: RegExp) => (error: unknown) => {
  assert.ok(error instanceof SkerryError);
  assert.match(error.message, pattern);
  return true;
};

const { launcher, warnings } = testLauncher();
const scratch = await mkdtemp(join(tmpdir(), 'skerry-command-'));
after(async () => {
  startCommandsWith(ownChildren);
  await launcher.close();
  await rm(scratch, { recursive: true, force: true });
  assert.deepEqual(warnings, [], 'the launcher took all of its commands');
});

for (const [how, starter] of [
  ['as a child of this process', ownChildren],
  ['by the launcher', launcher],
] as const) {
  describe(`a command started ${how}`, () => {
    before(() => startCommandsWith(starter));

    test('gives output, status and input apart; no shell looks at the arguments', async () => {
      const result = await run(['sh', '-c', 'cat; echo "$0" >&2', '$(touch /tmp/never)'], { input: 'in' });
      assert.deepEqual(result, { code: 0, stdout: 'in', stderr: '$(touch /tmp/never)\n' });
      assert.equal((await run(['false'], { okCodes: [1] })).code, 1);
    });

    test('a failure carries the words of the program, a missing one its name', async () => {
      await assert.rejects(
        run(['sh', '-c', 'echo why >&2; exit 3']),
        failure(/^sh failed with status 3: why$/),
      );
      await assert.rejects(run(['sh', '-c', 'kill -TERM $$']), failure(/^sh was ended by SIGTERM$/));
      await assert.rejects(run(['no-such-program']), failure(/no-such-program is not installed/));
      await assert.rejects(run(['/no/such/program']), failure(/is not installed/));
    });

    test('a working directory that is missing, a program that may not be run and arguments that are too long are told', async () => {
      assert.equal((await run(['pwd'], { cwd: '/usr/bin/..' })).stdout, '/usr\n');
      assert.equal((await run(['pwd'])).stdout, `${process.cwd()}\n`);
      await assert.rejects(run(['true'], { cwd: '/no/such' }), failure(/the working directory is missing/));
      await assert.rejects(run(['/etc/passwd']), { code: 'EACCES' });
      for (const length of [3 << 20, 20 << 20])
        await assert.rejects(run(['true', 'x'.repeat(length)]), { code: 'E2BIG' });
      await assert.rejects(run(['true', '\0']));
    });

    test('a program is looked for in the PATH of the command; a script that names no interpreter is the shell’s', async () => {
      const script = join(scratch, 'greet');
      await writeFile(script, 'echo "hello $1"');
      await chmod(script, 0o755);
      assert.equal(
        (await run(['greet', 'you'], { env: { PATH: `/no/such:${scratch}` } })).stdout,
        'hello you\n',
      );
      await chmod(script, 0o644);
      await assert.rejects(run(['greet'], { env: { PATH: scratch } }), { code: 'EACCES' });
    });

    test('has the environment it is given and no other, and the signals of a new program', async () => {
      const env = { PATH: '/usr/bin:/bin', EMPTY: '', SIGN: 'a=b' };
      const lines = (await run(['env'], { env })).stdout.trim().split('\n');
      assert.deepEqual(lines.sort(), ['EMPTY=', 'PATH=/usr/bin:/bin', 'SIGN=a=b']);
      const { stdout } = await run(['cat', '/proc/self/status']);
      assert.match(stdout, /^SigBlk:\t0{16}$/m);
      assert.match(stdout, /^SigIgn:\t[0-9a-f]{8}[08]0{7}$/m, 'none of the first 31 is ignored');
    });

    test('has no descriptor but its own, also beside others', async () => {
      const before = (await run(['ls', '/proc/self/fd'])).stdout;
      const beside = new AbortController();
      const running = Promise.withResolvers<void>();
      const other = run(['sh', '-c', 'echo; cat; sleep 1000'], {
        input: Buffer.alloc(1 << 20),
        signal: beside.signal,
        onOutput: () => running.resolve(),
      });
      await running.promise;
      assert.equal((await run(['ls', '/proc/self/fd'])).stdout, before);
      beside.abort(new Error('seen'));
      await assert.rejects(other, /seen/);
    });

    test('input longer than a pipe arrives whole; one that is not read holds nothing up', async () => {
      const input = Buffer.alloc(3_000_000, 'x');
      const { stdout } = await run(['sh', '-c', 'sleep 0.1; wc -c'], { input });
      assert.equal(stdout.trim(), '3000000');
      assert.equal((await run(['cat'], { input })).stdout, input.toString());
      assert.equal((await run(['true'], { input })).code, 0);
      assert.equal((await run(['cat'], { input: '' })).stdout, '');
      assert.equal((await run(['cat'])).stdout, '', 'no input is the end of it');
    });

    test('a deadline and an abort end the whole process group', async () => {
      // A grandchild that outlived the group would keep the output open, and the call from returning.
      const lingering = ['sh', '-c', 'sleep 1000 & echo started; wait'] as const;
      await assert.rejects(run(lingering, { timeoutMs: 200 }), failure(/did not finish within 0.2 s/));
      // The same when the process at its head has ended before.
      assert.equal((await run(['sh', '-c', 'sleep 1000 & echo started'], { timeoutMs: 200 })).code, 0);
      const abort = new AbortController();
      const running = run(lingering, {
        signal: abort.signal,
        onOutput: () => abort.abort(new Error('enough')),
      });
      await assert.rejects(running, /enough/);
    });

    test('what it leaves behind holds nothing up once its output is discarded', async () => {
      const file = join(scratch, 'left');
      await run(['sh', '-c', 'sleep 1000 & echo $! > "$0"; echo never', file], { output: 'discard' });
      process.kill(Number(await readFile(file, 'utf8')), 'SIGKILL');
    });

    test('output beyond the bound is dropped, not kept in memory', async () => {
      const { stdout } = await run(['head', '-c', '10000000', '/dev/zero'], { maxOutputBytes: 1_000_000 });
      assert.ok(stdout.length >= 1_000_000 && stdout.length < 2_000_000, String(stdout.length));
    });

    test('a listener of the output that throws ends the command with its error', async () => {
      const full = () => {
        throw new Error('no space left');
      };
      await assert.rejects(run(['sh', '-c', 'echo line; sleep 1000'], { onOutput: full }), /no space left/);
    });

    test('two hundred at once give each its own', async () => {
      const numbers = Array.from({ length: 200 }, (_, index) => String(index));
      const answers = await Promise.all(
        numbers.map((number) =>
          run(['sh', '-c', 'cat; echo "$0" >&2; exit 7', number], { input: number, okCodes: [7] }),
        ),
      );
      assert.deepEqual(
        answers,
        numbers.map((number) => ({ code: 7, stdout: number, stderr: `${number}\n` })),
      );
    });
  });
}
