/** The commands that work in sandboxes, as a person and as a script use them: one server, and one sandbox for what can share it. */
import assert from 'node:assert/strict';
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { after, before, describe, test } from 'node:test';
import { stripVTControlCharacters } from 'node:util';
import { type ProgramResult, runProgram } from './support/program.ts';
import { projectRoot, startServer, type TestServer } from './support/server.ts';
import { patient } from './support/slowness.ts';

const bin = join(projectRoot, 'cli/bin/skerry.mjs');
const python = ['--python', '3.11'];
/** No test waits longer for anything. */
const soon = () => ({ signal: AbortSignal.timeout(patient(15_000)) });

describe('the command in sandboxes', () => {
  let server: TestServer;
  let home: string;
  let env: Record<string, string>;
  let id: string;

  const skerry = (args: readonly string[], input = ''): Promise<ProgramResult> =>
    runProgram([process.execPath, bin, ...args], { env, cwd: home, input });
  const done = async (args: readonly string[], input?: string): Promise<string> => {
    const { code, stdout, stderr } = await skerry(args, input);
    assert.equal(code, 0, stderr);
    return stdout;
  };

  before(async () => {
    home = mkdtempSync(join(tmpdir(), 'command-sandboxes-'));
    server = await startServer();
    const { tokenId, tokenSecret } = server.token;
    const { PATH = '' } = process.env;
    env = { PATH, HOME: home, SKERRY_URL: server.url, SKERRY_TOKEN: `${tokenId}:${tokenSecret}` };
    id = await done([
      'run',
      '-d',
      ...python,
      '--name',
      'shared',
      '--',
      'sh',
      '-c',
      'echo begun; echo warned >&2; read x',
    ]);
    assert.match(id, /^sb-\w+$/);
  });
  after(async () => {
    await server?.stop(); // asserts that nothing is left
    if (home) rmSync(home, { recursive: true, force: true });
  });

  test('run passes input, output and the exit status through', async () => {
    const script =
      'import sys; data = sys.stdin.buffer.read(); print(len(data)); print("bad", file=sys.stderr); sys.exit(7)';
    const { code, stdout, stderr } = await skerry(
      ['run', ...python, '--', 'python3', '-c', script],
      'x'.repeat(100_000),
    );
    assert.deepEqual([code, stdout, stderr], [7, '100000', 'bad']);
    const program = ['sh', '-c', 'echo $A $B; cat /data/file; ls /sys/class/net; id -u'];
    await done(['run', ...python, '--volume', 'run:/data', '--', 'sh', '-c', 'echo kept > /data/file']);
    const options = [
      '--volume',
      'run:/data:ro',
      '-e',
      'A=1 2',
      '-e',
      'HOME',
      '--net',
      'none',
      '--memory',
      '256',
    ];
    assert.match(await done(['run', ...python, ...options, '-e', 'B=b', '--', ...program]), /^1 2 b\nkept\n/);
    const json = await done(['run', ...python, '--json', '--', 'sh', '-c', 'echo out; echo err >&2']);
    const { sandboxId: _, ...result } = JSON.parse(json);
    assert.deepEqual(result, { exitCode: 0, timedOut: false, stdout: 'out\n', stderr: 'err\n' });
  });

  test('exit statuses tell what became of it', async () => {
    for (const [args, status, said] of [
      [['--', 'sh', '-c', 'kill -9 $$'], 137, /^$/],
      [['--timeout', '2s', '--', 'sleep', '60'], 124, /deadline|time/],
      [['--', 'no-such-program'], 127, /no-such-program/],
      [['--image', 'im-none', '--', 'true'], 2, /not both/],
      [['--volume', 'nonsense', '--', 'true'], 2, /name:\/path/],
      [['--timeout', 'soon', '--', 'true'], 2, /such as 90/],
      [['-t', '--', 'true'], 2, /terminal/],
    ] as const) {
      const { code, stderr } = await skerry(['run', ...python, ...args]);
      assert.deepEqual([args, code], [args, status], stderr);
      assert.match(stderr, said);
    }
    assert.equal((await skerry(['run', '--image', 'im-none', '--', 'true'])).code, 125);
    assert.equal((await skerry(['exec', 'shared', '--', '/etc/passwd'])).code, 126);
    assert.equal((await skerry(['exec', 'none', '--', 'true'])).code, 125);
    const mistyped = await skerry(['exce', 'shared']);
    assert.equal(mistyped.code, 2);
    assert.match(mistyped.stderr, /Did you mean exec\?/);
  });

  test('exec works in one that runs', async () => {
    assert.equal(await done(['exec', 'shared', '--', 'echo', 'a  b', '-n']), 'a  b -n');
    assert.equal(
      await done(['exec', '-i', '-w', '/tmp', '-e', 'A=1', id, '--', 'sh', '-c', 'pwd; echo $A; cat'], 'in'),
      '/tmp\n1\nin',
    );
    assert.equal((await skerry(['exec', '--timeout', '1s', id, '--', 'sleep', '60'])).code, 124);
    const json = JSON.parse(await done(['exec', '--json', id, '--', 'echo', 'x']));
    assert.deepEqual(json, { exitCode: 0, timedOut: false, stdout: 'x\n', stderr: '' });
  });

  test('snapshot makes an image of the files', async () => {
    await done(['exec', id, '--', 'sh', '-c', 'mkdir /kept; echo then > /kept/file']);
    const image = await done(['snapshot', 'shared', '--expires', '1h']);
    assert.match(image, /^im-/);
    assert.equal(await done(['run', '--image', image, '--', 'cat', '/kept/file']), 'then');
    assert.match(JSON.parse(await done(['snapshot', '--json', '--path', '/kept', id])).imageId, /^im-/);
    assert.equal((await skerry(['snapshot', '--expires', 'soon', id])).code, 2);
  });

  test('an interrupt reaches the program', async () => {
    const trap = 'trap "echo interrupted; exit 9" INT; echo ready; while :; do sleep 0.1; done';
    const child = spawn(process.execPath, [bin, 'exec', id, '--', 'sh', '-c', trap], { env });
    const said = text(child.stdout);
    await once(child.stdout, 'data', soon());
    child.kill('SIGINT');
    const [code] = await once(child, 'close', soon());
    assert.deepEqual([code, await said], [9, 'ready\ninterrupted\n']);
  });

  test('a shell has a terminal: keys, its size, Ctrl-C', async () => {
    const quoted = [process.execPath, bin, 'shell', id].map((word) => `'${word}'`).join(' ');
    const child = spawn('script', ['-qefc', `stty rows 21 cols 77; ${quoted}`, '/dev/null'], { env });
    const screen = new Screen(child);
    await screen.shows(/[#$] $/);
    child.stdin.write('stty size\r');
    await screen.shows(/21 77/);
    // What is typed is seen before the shell has begun with it, and an interrupt could still find it reading.
    child.stdin.write('echo "be"gun; sleep 600\r');
    await screen.shows(/begun\r*\n/);
    child.stdin.write('\x03');
    await screen.shows(/[#$] $/);
    child.stdin.write('exit 5\r');
    const [code] = await once(child, 'close', soon());
    assert.equal(code, 5, screen.text);
  });

  test('a shell without a terminal reads commands', async () => {
    const { code, stdout } = await skerry(['shell', ...python], 'echo $((6 * 7)); exit 3\n');
    assert.deepEqual([code, stdout], [3, '42']);
  });

  test('cp takes files and directories both ways, with links and permissions', async () => {
    const from = join(home, 'tree');
    mkdirSync(join(from, 'sub'), { recursive: true });
    writeFileSync(join(from, 'sub/ü'), Buffer.from([0, 255, 1]));
    writeFileSync(join(from, 'run.sh'), '#!/bin/sh\necho ran\n');
    chmodSync(join(from, 'run.sh'), 0o755);
    symlinkSync('run.sh', join(from, 'link'));
    await done(['cp', 'tree', 'shared:/work']);
    assert.equal(await done(['exec', id, '--', '/work/link']), 'ran');
    await done(['cp', 'tree', 'shared:/work/']);
    assert.match(await done(['exec', id, '--', 'find', '/work/tree', '-type', 'f']), /sub\/ü/);
    await done(['cp', 'shared:/work', 'back']);
    assert.deepEqual([...readFileSync(join(home, 'back/sub/ü'))], [0, 255, 1]);
    assert.equal(statSync(join(home, 'back/run.sh')).mode & 0o111, 0o111);
    assert.equal(readlinkSync(join(home, 'back/link')), 'run.sh');
    await done(['cp', `${id}:/work/run.sh`, '.']);
    assert.match(readFileSync(join(home, 'run.sh'), 'utf8'), /ran/);
    const none = await skerry(['cp', 'shared:/none', '.']);
    assert.deepEqual([none.code, /no \/none/.test(none.stderr)], [1, true]);
    assert.equal((await skerry(['cp', 'a', 'b'])).code, 2);
  });

  test('stats and top tell what sandboxes take, and where the time of a start went', async () => {
    const [taken, ...more] = lines(await done(['stats', '--json', 'shared']));
    assert.deepEqual([taken.id, taken.name, more], [id, 'shared', []]);
    assert.ok(taken.memoryBytes > 0 && taken.cpuPercent >= 0 && taken.processes > 0);
    assert.match(await done(['stats']), new RegExp(`^SANDBOX .*\n(?:.*\n)*${id} +shared +[\\d.]+ % `, 'm'));
    const [{ startup }] = lines(await done(['stats', '--startup', '--json', id]));
    assert.ok(startup.ms > 0 && Object.keys(startup.phases).length > 0);
    assert.match(await done(['stats', '--startup', id]), /started in .* ms.*\nPHASE +MS\n/);
    const looks = lines(await done(['top', '--json', '--count', '2', '--interval', '1s']));
    const seen = looks.map(({ sandboxes }) => sandboxes.find((each: { id: string }) => each.id === id));
    assert.deepEqual(
      seen.map(({ cpuPercent }) => typeof cpuPercent),
      ['object', 'number'],
    );
  });

  test('top at a terminal shows one screen until q', async () => {
    const quoted = [process.execPath, bin, 'top'].map((word) => `'${word}'`).join(' ');
    const child = spawn('script', ['-qefc', `stty rows 20 cols 100; ${quoted}`, '/dev/null'], { env });
    const screen = new Screen(child);
    await screen.shows(/shared /);
    child.stdin.write('q');
    const [code] = await once(child, 'close', soon());
    assert.equal(code, 0, screen.text);
  });

  test('events tell what happens to all, and what was noted of one until its end', async () => {
    const all = spawn(process.execPath, [bin, 'events', '--json'], { env });
    const said = text(all.stdout);
    const first = once(all.stdout, 'data', soon());
    // The stream may begin after this one has: others come until it tells of one.
    let brief = '';
    do brief = await done(['run', '-d', ...python, '--timeout', '60s', '--', 'true']);
    while (!(await Promise.race([first, done(['events', '--follow', brief]).then(() => false)])));
    all.kill();
    const events = lines(await said);
    assert.ok(events.some(({ sandboxId, time }) => /^sb-/.test(sandboxId) && Date.parse(time) > 0));
    assert.match(
      await done(['events', '-f', brief]),
      /Z {2}life {5}created\n.*running\n(?:.*\n)*.*ended: exited, exit status 0$/,
    );
    assert.equal(lines(await done(['events', '--json', brief]))[0].sandboxId, brief);
  });

  test('volume looks after volumes and the files in them', async () => {
    assert.equal(await done(['volume', 'create', 'papers']), 'papers');
    mkdirSync(join(home, 'papers/sub'), { recursive: true });
    writeFileSync(join(home, 'papers/sub/ü'), Buffer.from([0, 255, 1]));
    writeFileSync(join(home, 'papers/a'), 'first');
    await done(['volume', 'put', 'papers', 'papers', '/in']);
    await done(['volume', 'put', 'papers', '-', '/in/piped'], 'piped');
    await done(['volume', 'cp', '-r', 'papers', '/in', '/copy']);
    const paths = lines(await done(['volume', 'ls', '-r', '--json', 'papers', '/copy'])).map(
      ({ path }) => path,
    );
    assert.deepEqual(paths.sort(), ['/copy/a', '/copy/piped', '/copy/sub', '/copy/sub/ü']);
    assert.match(
      await done(['volume', 'ls', 'papers', '/copy']),
      /^TYPE .*\n(?:.*\n)*file +5 B .* \/copy\/a$/m,
    );
    assert.equal(await done(['volume', 'get', 'papers', '/copy/piped', '-']), 'piped');
    const big = join(home, 'big');
    writeFileSync(big, 'first');
    truncateSync(big, 65 * 2 ** 20); // of zeros, which take no room here
    await done(['volume', 'put', 'papers', 'big', '/big']);
    assert.match(await done(['volume', 'ls', 'papers', '/big']), / 65.0 MiB /);
    await done(['volume', 'rename', 'papers', 'kept']);
    await done(['volume', 'get', 'kept', '/copy', 'got']);
    assert.deepEqual([...readFileSync(join(home, 'got/sub/ü'))], [0, 255, 1]);
    await done(['volume', 'get', 'kept', '/copy/a', 'got/sub']);
    assert.equal(readFileSync(join(home, 'got/sub/a'), 'utf8'), 'first');
    const full = await skerry(['volume', 'rm', 'kept', '/copy']);
    assert.deepEqual([full.code, full.stdout], [1, '']);
    await done(['volume', 'rm', '-r', 'kept', '/copy']);
    assert.equal((await skerry(['volume', 'ls', 'kept', '/copy'])).code, 1);
    assert.match(await done(['volume', 'list']), /^kept +\d/m);
    await done(['volume', 'delete', 'kept']);
    assert.doesNotMatch(await done(['volume', 'list', '--json']), /"kept"/);
  });

  test('secret stores variables and never shows a value', async () => {
    writeFileSync(join(home, 'service.env'), '# comment\nFROM_FILE="a b"\n');
    const words = ['secret', 'create', 'service', 'PLAIN=x=y', '--from-file', 'service.env'];
    assert.equal(await done([...words, '--force']), 'service');
    const again = await skerry(words);
    assert.deepEqual([again.code, /--force/.test(again.stderr)], [1, true]);
    await done(['secret', 'create', 'service', '--force', '--from-file', '-', 'HOME'], 'FROM_FILE=piped');
    const listed = lines(await done(['secret', 'list', '--json'])).find(({ name }) => name === 'service');
    assert.deepEqual(listed.keys.sort(), ['FROM_FILE', 'HOME']);
    assert.match(await done(['secret', 'list']), /^service .* never +(FROM_FILE HOME|HOME FROM_FILE)$/m);
    const program = ['sh', '-c', 'echo $FROM_FILE'];
    assert.equal(await done(['run', ...python, '--secret', 'service', '--', ...program]), 'piped');
    await done(['secret', 'delete', 'service']);
    assert.doesNotMatch(await done(['secret', 'list']), /^service /m);
    assert.equal((await skerry(['secret', 'create', 'empty'])).code, 2);
  });

  test('app lists, tells what was written, and stops', async () => {
    const [app] = lines(await done(['app', 'list', '--json'])).filter(({ sandboxes }) => sandboxes > 0);
    assert.match(app.id, /^ap-/);
    assert.match(
      await done(['app', 'list']),
      new RegExp(`^${app.id} +${app.name} +${app.state} .* [1-9]`, 'm'),
    );
    assert.match(await done(['app', 'logs', app.name]), new RegExp(`^${id}  begun$`, 'm'));
    const pieces = lines(await done(['app', 'logs', '--json', app.id]));
    assert.ok(
      pieces.some((piece) => piece.sandboxId === id && piece.stream === 'stderr' && piece.text === 'warned'),
    );
    const follow = spawn(process.execPath, [bin, 'app', 'logs', '-f', app.name], { env });
    const said = new Screen(follow);
    await said.shows(/warned/);
    const late = await done(['run', '-d', ...python, '--', 'sh', '-c', 'echo late; read x']);
    await said.shows(new RegExp(`${late}  late`));
    follow.kill();
    await done(['rm', late]);
    assert.equal((await skerry(['app', 'stop', 'no-such-app'])).code, 1);
  });

  test('a group answers a mistyped command with the nearest', async () => {
    const { code, stderr } = await skerry(['volume', 'renmae', 'a', 'b']);
    assert.deepEqual([code, /Did you mean rename\?/.test(stderr)], [2, true]);
  });

  test('logs are there while it runs and after its end, and stop ends it', async () => {
    assert.equal(await done(['logs', 'shared']), 'begun');
    const follow = spawn(process.execPath, [bin, 'logs', '-f', id], { env });
    const [out, err, closed] = [text(follow.stdout), text(follow.stderr), once(follow, 'close', soon())];
    await once(follow.stdout, 'data', soon());
    const [stopped] = (await done(['stop', '--json', 'shared'])).split('\n');
    assert.equal(JSON.parse(stopped ?? '').id, id);
    await closed;
    assert.deepEqual([await out, await err], ['begun\n', 'warned\n']);
    assert.match(await done(['logs', '--json', id]), /{"stream":"stdout","text":"begun\\n"}/);
    const gone = await skerry(['stop', 'shared']);
    assert.deepEqual([gone.code, /skerry ls/.test(gone.stderr)], [1, true]);
    const another = await done([
      'run',
      '-d',
      ...python,
      '--',
      'sh',
      '-c',
      'trap "" TERM; while :; do sleep 1; done',
    ]);
    assert.equal(await done(['rm', another]), another);
    // Destroyed, or ended under another's name: what it wrote is there, and where nothing is, that is said.
    const killed = [
      'run',
      '-d',
      ...python,
      '--name',
      'brief',
      '--',
      'sh',
      '-c',
      'echo words; exec sleep 600',
    ];
    const brief = await done(killed);
    while ((await done(['logs', 'brief'])) === '');
    await done(['rm', brief]);
    for (const args of [
      ['logs', 'brief'],
      ['logs', brief],
    ])
      assert.equal(await done(args), 'words');
    const ended = await skerry(['logs', '-f', 'brief']);
    assert.deepEqual(
      [ended.code, ended.stdout, /while the command ran/.test(ended.stderr)],
      [0, 'words', true],
    );
    assert.match(await done(['events', 'brief']), /ended: /);
    for (const which of ['nobody', 'sb-nothing']) {
      const none = await skerry(['logs', which]);
      assert.deepEqual([none.code, /Nothing is known of .*--keep-output-hours/.test(none.stderr)], [1, true]);
    }
    assert.equal(await done(['exec', '--help']), await done(['help', 'exec']));
  });
});

const lines = (text: string) =>
  text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));

/** What a program has written to its terminal. */
class Screen {
  text = '';
  readonly #child: ChildProcessWithoutNullStreams;

  constructor(child: ChildProcessWithoutNullStreams) {
    this.#child = child;
    child.stdout.setEncoding('utf8').on('data', (piece: string) => {
      this.text += piece;
    });
  }

  /** Waits until what came since the last time looks like that. */
  async shows(what: RegExp): Promise<void> {
    while (!what.test(stripVTControlCharacters(this.text))) {
      const [ended] = await Promise.race([
        once(this.#child.stdout, 'data', soon()).then(() => [false]),
        once(this.#child, 'close', soon()).then(() => [true]),
      ]);
      assert.ok(!ended, `it ended: ${this.text}`);
    }
    this.text = '';
  }
}
