import assert from 'node:assert/strict';
import { chmod, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { SkerryError } from '../errors/skerry-error.ts';
import { AgentHarness } from './testing/agent-harness.ts';

const root = process.getuid?.() === 0;

describe('starting processes', () => {
  let agent: AgentHarness;
  before(async () => {
    agent = await AgentHarness.start();
  });
  after(() => agent[Symbol.asyncDispose]());

  const sh = (script: string, more = {}) => agent.exec(['sh', '-c', script], more);

  test('keeps stdout and stderr apart and reports the exit code', async () => {
    const result = await sh('echo out; echo err >&2; exit 7');
    assert.deepEqual(result.exit, { kind: 'code', value: 7, timedOut: false });
    assert.equal(result.stdout, 'out\n');
    assert.equal(result.stderr, 'err\n');
  });

  test('reports the signal that ended a process', async () => {
    assert.deepEqual((await sh('kill -USR1 $$')).exit, { kind: 'signal', value: 10, timedOut: false });
  });

  test('joins stderr into stdout, and discards what nobody wants', async () => {
    const joined = await sh('echo a; echo b >&2; echo c', { stderr: 'stdout' });
    assert.equal(joined.stdout, 'a\nb\nc\n');
    const quiet = await sh('echo a; echo b >&2', { stdout: 'null', stderr: 'null' });
    assert.deepEqual([quiet.exit?.value, quiet.stdout, quiet.stderr], [0, '', '']);
  });

  test('gives the environment of the request and a HOME, nothing else', async () => {
    const env = { PATH: '/usr/bin:/bin', A: 'x=y z\n', EMPTY: '' };
    const { stdout } = await agent.exec(['env', '-0'], { env });
    const home = root ? ['HOME=/root'] : stdout.split('\0').filter((line) => line.startsWith('HOME='));
    assert.deepEqual(stdout.split('\0').filter(Boolean).sort(), [
      'A=x=y z\n',
      'EMPTY=',
      ...home,
      'PATH=/usr/bin:/bin',
    ]);
    assert.match((await agent.exec(['env'], { env: { ...env, HOME: '/h' } })).stdout, /^HOME=\/h$/m);
  });

  test('inherits nothing of the agent: descriptors, signals, session', async () => {
    const fds = await sh('cd /proc/self/fd && echo *');
    assert.match(fds.stdout, /^0 1 2 \d+\n$/, 'the last is the directory itself');
    for (const signal of [13, 15, 17]) {
      // SIGCHLD (17) is ignored by default, and would only end the process if that were changed.
      const { exit } = await sh(`kill -${signal} $$; exit 3`);
      assert.deepEqual(exit?.value, signal === 17 ? 3 : signal);
    }
    const session = await sh('cut -d" " -f1,5,6 /proc/$$/stat; echo $$');
    const [numbers, pid] = session.stdout.trim().split('\n');
    assert.equal(numbers, `${pid} ${pid} ${pid}`, 'it leads its own group and session');
  });

  test('starts in the working directory, and creates it when asked', async () => {
    const cwd = join(agent.directory, 'a', 'b');
    await assert.rejects(sh('pwd', { cwd }), matches('bad-workdir', /No such file/));
    assert.equal((await sh('pwd', { cwd, createCwd: true })).stdout, `${cwd}\n`);
    assert.equal((await sh('pwd', { cwd, createCwd: true })).stdout, `${cwd}\n`);
    const file = join(agent.directory, 'plain');
    await writeFile(file, '');
    await assert.rejects(sh('pwd', { cwd: file, createCwd: true }), matches('bad-workdir', /plain/));
  });

  test('says what is wrong with a program', async () => {
    const path = (name: string) => join(agent.directory, name);
    await writeFile(path('text'), 'no program\n');
    await chmod(path('text'), 0o755);
    await writeFile(path('plain2'), '');
    await writeFile(path('orphan'), '#!/no/such/interpreter\n');
    await chmod(path('orphan'), 0o755);
    await mkdir(path('dir'));
    const cases = [
      ['nosuchprogram', 'program-not-found', /nosuchprogram.*PATH/],
      ['/no/such', 'program-not-found', /\/no\/such/],
      ['', 'program-not-found', /''/],
      [path('text'), 'program-not-executable', /text/],
      [path('plain2'), 'program-not-executable', /plain2/],
      [path('dir'), 'program-not-executable', /directory/],
      [path('orphan'), 'program-not-executable', /interpreter/],
      [`${path('plain2')}/x`, 'program-not-found', /plain2/],
    ] as const;
    for (const [program, code, text] of cases) {
      await assert.rejects(agent.exec([program]), matches(code, text), program);
    }
    const long = 'x'.repeat(200_000);
    await assert.rejects(agent.exec(['true', long]), matches('invalid-argument', /longer/));
  });

  test('takes the longest arguments and environment that the kernel takes', async () => {
    const argument = 'x'.repeat(100_000);
    const env = Object.fromEntries(Array.from({ length: 8 }, (_, i) => [`V${i}`, argument]));
    const { stdout } = await agent.exec(['sh', '-c', 'printf %s "$1$V7" | wc -c', 'sh', argument], { env });
    assert.equal(stdout.trim(), '200000');
  });

  test('refuses requests that make no sense, naming the field', async () => {
    await assert.rejects(agent.exec([]), matches('invalid-argument', /argv/));
    await assert.rejects(agent.exec(['a\0b']), matches('invalid-argument', /argv/));
    await assert.rejects(agent.exec(['true'], { env: { 'a=b': '' } }), matches('invalid-argument', /env/));
    await assert.rejects(agent.exec(['true'], { id: 'a/b' }), matches('invalid-argument', /id/));
    await assert.rejects(agent.exec(['true', 'x'.repeat(8 << 20)]), matches('too-large', /8 MiB/));
  });

  test('runs as the user asked for', { skip: !root && 'needs root' }, async () => {
    const passwd = await readFile('/etc/passwd', 'utf8');
    const [name, , uid, gid, , home] =
      passwd
        .split('\n')
        .find((line) => line.startsWith('nobody:'))
        ?.split(':') ?? [];
    const ids = 'id -u; id -g; id -G; echo $HOME';
    const env = { PATH: '/usr/bin:/bin' };
    assert.equal((await sh(ids, { user: name, env, cwd: '/' })).stdout, `${uid}\n${gid}\n${gid}\n${home}\n`);
    assert.equal((await sh(ids, { user: '4242:4343', env, cwd: '/' })).stdout, '4242\n4343\n4343\n/\n');
    assert.equal((await sh(ids, { user: '4242', env, cwd: '/' })).stdout, '4242\n0\n0\n/\n');
    await assert.rejects(sh('id', { user: 'nosuchuser' }), matches('bad-user', /nosuchuser/));
    await assert.rejects(sh('id', { user: 'root:nosuchgroup' }), matches('bad-user', /nosuchgroup/));
  });

  test('the same id twice is the same process', async () => {
    const request = agent.request(['sh', '-c', 'echo $$; read x; echo got $x']);
    const first = await agent.start(request.argv, request);
    await first.sink.until('the first line', () => first.sink.lengths.stdout > 0);
    const second = await agent.start(request.argv, request);
    assert.equal(second.process.pid, first.process.pid);
    await first.sink.until('being cut off', () => first.sink.lostWith !== undefined);
    await second.process.writeStdin(0, Buffer.from('it\n'));
    await second.sink.finished();
    assert.equal(second.sink.text('stdout'), `${first.process.pid}\ngot it\n`);
  });
});

/** A SkerryError of this code with this text. */
function matches(code: string, text: RegExp) {
  return (error: unknown) => {
    assert.ok(error instanceof SkerryError, String(error));
    assert.equal(error.code, code, error.message);
    assert.match(error.message, text);
    return true;
  };
}
