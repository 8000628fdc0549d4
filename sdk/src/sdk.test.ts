/** The package against the real API over the fake engine. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Validator } from '@seriousme/openapi-schema-validator';
import { ApiServer } from '../../server/src/api/modbox/testing/api-server.ts';
import { run } from '../../server/src/platform/command.ts';
import {
  AuthenticationError,
  CommandError,
  ConnectionError,
  type CreateOptions,
  InvalidRequestError,
  NotFoundError,
  PermissionDeniedError,
  quote,
  Sandbox,
  SandboxEndedError,
  WaitTimeoutError,
} from './index.ts';

test('the types are those of the server as it is', async () => {
  // A process of its own: schemas are named in one register, which here has those of other interfaces too.
  const script = fileURLToPath(new URL('../scripts/generate-types.ts', import.meta.url));
  const { code, stderr } = await run([process.execPath, script, '--check'], { okCodes: [1] });
  assert.equal(code, 0, stderr);
});

test('words of a shell are quoted, whatever is in them', () => {
  assert.equal(
    quote(["it's", 'a b', '', '$HOME', 'plain-1.2/x', 3]),
    `'it'\\''s' 'a b' '' '$HOME' plain-1.2/x 3`,
  );
  assert.throws(() => quote('a\0b'), TypeError);
});

test('who has no token, a wrong one or no server is told what to do', async () => {
  const { MODAL_TOKEN_ID: _, SKERRY_TOKEN: __, ...env } = process.env;
  process.env = env;
  await assert.rejects(
    Sandbox.create(),
    (error) => error instanceof AuthenticationError && /skerry env/.test(error.message),
  );
  await assert.rejects(
    Sandbox.create({ token: 'a:b', url: 'http://127.0.0.1:1' }),
    (error) => error instanceof ConnectionError && /skerry up/.test(error.suggestion),
  );
});

describe('with a server', () => {
  let server: ApiServer;
  let sandbox: Sandbox;
  let at: CreateOptions;
  before(async () => {
    server = await ApiServer.start();
    at = { url: server.url, token: server.token, image: 'base' };
    sandbox = await Sandbox.create(at);
  });
  after(() => server?.[Symbol.asyncDispose]());

  test('its OpenAPI document is valid', async () => {
    const document = (await (await fetch(`${server.url}/v1/openapi.json`)).json()) as { openapi: string };
    assert.equal(document.openapi, '3.1.0');
    const result = await new Validator().validate({ ...document });
    assert.deepEqual(result.errors ?? [], []);
  });

  test('a program gives its result, whatever its exit code', async () => {
    const { exitCode, stdout, stderr, timedOut } = await sandbox.exec([
      'sh',
      '-c',
      'echo out; echo err >&2; exit 3',
    ]);
    assert.deepEqual([exitCode, stdout, stderr, timedOut], [3, 'out\n', 'err\n', false]);
    assert.equal(await sandbox.exec(['echo', 'a b', '$HOME']).text(), 'a b $HOME\n');
    assert.deepEqual(await sandbox.exec(['echo', '{"a": 1}']).json(), { a: 1 });
    await assert.rejects(
      sandbox.exec(['sh', '-c', 'echo why >&2; exit 7']).text(),
      (error) =>
        error instanceof CommandError &&
        error.exitCode === 7 &&
        error.stderr === 'why\n' &&
        /why/.test(error.message),
    );
    await assert.rejects(
      async () => sandbox.exec(['no-such-program']),
      (error) => error instanceof InvalidRequestError && error.path === 'argv',
    );
    const late = await sandbox.exec(['sleep', '60'], { timeoutMs: 50 });
    assert.deepEqual([late.timedOut, late.exitCode], [true, 137]);
  });

  test('templates quote their values, and throw when the command fails', async () => {
    const odd = `a 'b' "c" $(touch /tmp/x) \\ü`;
    assert.equal(await sandbox.$`printf %s ${odd}`.text(), odd);
    assert.equal(await sandbox.$`printf %s, ${['a', 'b c']} | tr , .`.text(), 'a.b c.');
    await assert.rejects(async () => sandbox.$`exit 4`, CommandError);
    assert.equal((await sandbox.$`exit 4`.nothrow()).exitCode, 4);
    assert.equal(await sandbox.shell({ env: { A: '1' }, cwd: '/' })`echo $A; pwd`.text(), '1\n/\n');
  });

  test('output comes as it is written, byte for byte, to any number of readers', async () => {
    const program = sandbox.exec(
      ['sh', '-c', 'printf "\\377\\000one\\ntw"; read x; echo "o $x"; echo err >&2'],
      { stdin: 'open' },
    );
    const lines = program.stdout.lines();
    assert.equal((await lines.next()).value, '\ufffd\0one');
    await program.stdin.write('and ');
    await program.stdin.end('on\n');
    assert.deepEqual(await Array.fromAsync(lines), ['two and on']);
    assert.deepEqual([...(await program.stdout.bytes())].slice(0, 3), [0xff, 0, 0x6f]);
    assert.equal(await program.stderr.text(), 'err\n');
    assert.deepEqual(await program.wait(), { exitCode: 0, signal: null, timedOut: false });
    const streams = (await Array.fromAsync(program)).map(({ stream }) => stream);
    assert.deepEqual([streams.includes('stdout'), streams.at(-1)], [true, 'stderr']);
    assert.equal(await new Response(sandbox.process(await program.id()).stderr.readable()).text(), 'err\n');
  });

  test('input is text, bytes, or comes in pieces', async () => {
    const big = 'x'.repeat(3 << 20);
    assert.equal((await sandbox.exec(['cat'], { stdin: big })).stdout.length, big.length);
    async function* pieces() {
      yield 'a';
      yield new TextEncoder().encode('b');
    }
    assert.equal(await sandbox.exec(['cat'], { stdin: pieces() }).text(), 'ab');
    assert.equal((await sandbox.exec(['true'], { stdin: big })).exitCode, 0, 'nobody reads it');
    assert.equal(await sandbox.exec(['cat']).text(), '', 'without, it is at its end');
  });

  test('programs get signals, terminals, and an end by AbortSignal', async () => {
    const trapping = sandbox.exec([
      'sh',
      '-c',
      'trap "exit 9" INT; echo ready; while :; do sleep 0.05; done',
    ]);
    for await (const line of trapping.stdout.lines()) {
      assert.equal(line, 'ready');
      await trapping.kill('SIGINT');
    }
    assert.equal((await trapping).exitCode, 9);
    const terminal = sandbox.exec(['sh', '-c', 'stty size; read x; stty size'], {
      pty: { rows: 20, cols: 70 },
      stdin: 'open',
    });
    const sizes = terminal.stdout.lines();
    assert.equal((await sizes.next()).value, '20 70');
    await terminal.resize({ rows: 30, cols: 100 });
    await terminal.stdin.write('\r');
    assert.match((await Array.fromAsync(sizes)).join(), /30 100/);

    const controller = new AbortController();
    const aborted = sandbox.exec(['sleep', '600'], { signal: controller.signal });
    const id = await aborted.id();
    controller.abort(new Error('enough'));
    await assert.rejects(async () => aborted, /enough/);
    assert.equal((await sandbox.process(id).wait()).signal, 9);
    const listed = await sandbox.processes();
    assert.ok(listed.some((process) => process.id === id && process.exit?.signal === 9));
  });

  test('files are written, read, listed and removed', async () => {
    const { files } = sandbox;
    await files.write('/d/e/text', 'täxt');
    assert.equal(await files.readText('/d/e/text'), 'täxt');
    const bytes = new Uint8Array(2_000_000).map((_, index) => index % 251);
    await files.write('/d/bytes', new Blob([bytes]).stream());
    assert.deepEqual(await files.read('/d/bytes'), bytes);
    assert.equal((await new Response(await files.readStream('/d/bytes')).bytes()).length, bytes.length);
    await files.mkdir('/d/new/deep');
    await files.mkdir('/d/new');
    const names = (await files.list('/d')).map(({ name, type }) => `${name} ${type}`).sort();
    assert.deepEqual(names, ['bytes file', 'e directory', 'new directory']);
    assert.deepEqual([await files.type('/d'), await files.exists('/none')], ['directory', false]);
    await files.remove('/d', { recursive: true });
    await assert.rejects(
      files.read('/d/bytes'),
      (error) => error instanceof NotFoundError && error.path === 'path' && error.suggestion !== '',
    );
  });

  test('a sandbox with a command ends with it, and tells how', async () => {
    const one = await Sandbox.create({
      ...at,
      command: ['sh', '-c', 'cat; exit 5'],
      name: 'main',
      tags: { a: 'b' },
    });
    assert.deepEqual([one.info.name, one.info.tags, one.info.hasCommand], ['main', { a: 'b' }, true]);
    await one.entrypoint.stdin.end('in');
    const result = await one.entrypoint;
    assert.deepEqual([result.exitCode, result.stdout], [5, 'in']);
    const { status, result: how } = await one.wait();
    assert.deepEqual([status, how], ['ended', { reason: 'exited', exitCode: 5, message: null }]);
    assert.equal(await one.entrypoint.stdout.text(), 'in', 'also after its end');
    await assert.rejects(async () => one.exec(['true']), SandboxEndedError);
    await assert.rejects(Sandbox.create({ ...at, command: ['no-such-program'] }), /no-such-program/);
    await assert.rejects(async () => sandbox.entrypoint, NotFoundError);
  });

  test('sandboxes are found, listed and ended', async () => {
    let id: string;
    {
      await using brief = await Sandbox.create({ ...at, app: 'other', ports: [8000] });
      id = brief.id;
      await assert.rejects(brief.wait({ timeoutMs: 1 }), WaitTimeoutError);
      const ids = (await Array.fromAsync(Sandbox.list(at))).map((each) => each.id);
      assert.ok(ids.includes(id) && ids.includes(sandbox.id));
      assert.deepEqual(
        (await Array.fromAsync(Sandbox.list({ ...at, app: 'other' }))).map((each) => each.id),
        [id],
      );
      assert.equal((await brief.tunnels())[0]?.port, 8000);
      assert.match((await brief.connectToken(9000)).url, /^http/);
      // A page or an agent that works in one sandbox needs no more than its key.
      const keyed = await Sandbox.get(id, { url: server.url, token: brief.info.key });
      assert.equal(await keyed.exec(['echo', 'hi']).text(), 'hi\n');
      await assert.rejects(
        Sandbox.get(sandbox.id, { url: server.url, token: brief.info.key }),
        PermissionDeniedError,
      );
    }
    const ended = await Sandbox.get(id, at);
    assert.deepEqual([ended.info.status, ended.info.result?.reason], ['ended', 'terminated']);
    await assert.rejects(Sandbox.get('sb-none', at), NotFoundError);
  });

  test('what is no request is refused with the field at fault', async () => {
    for (const [request, path] of [
      [{ image: 'none:1' }, undefined],
      [{ timeoutSeconds: 0 }, 'timeoutSeconds'],
      [{ pty: { rows: 1, cols: 1 } }, 'pty'],
      [{ workdir: 'relative' }, 'workdir'],
      [{ env: { 'A=B': '' } }, 'env.A=B'],
    ] as const) {
      await assert.rejects(
        Sandbox.create({ ...at, ...request }),
        (error: { path?: string }) => path === undefined || error.path === path,
      );
    }
    await assert.rejects(async () => sandbox.exec(['true'], { cwd: 'relative' }), InvalidRequestError);
  });
});
