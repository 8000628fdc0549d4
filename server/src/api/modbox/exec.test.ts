import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { delay } from '../../platform/wait.ts';
import { ApiServer } from './testing/api-server.ts';
import { readEvents, until } from './testing/events.ts';

test('exec answers with exit code, both streams and the time taken', async () => {
  await using server = await ApiServer.start();
  const api = await server.sandbox();
  const { status, json } = await server.call('POST', `${api}/exec`, {
    body: { command: 'echo out; echo err >&2; exit 3' },
  });
  assert.equal(status, 200);
  const { durationMs, ...rest } = json;
  assert.deepEqual(rest, {
    exitCode: 3,
    stdout: 'out\n',
    stderr: 'err\n',
    truncated: false,
    timedOut: false,
  });
  assert.ok(Number.isInteger(durationMs) && durationMs >= 0);
  const killed = await server.call('POST', `${api}/exec`, { body: { command: 'kill -TERM $$' } });
  assert.equal(killed.json.exitCode, 143);
});

test('argv needs no quoting, stdin carries any program, env and cwd arrive', async () => {
  await using server = await ApiServer.start();
  const api = await server.sandbox();
  const tricky = `"double" 'single' $HOME \`date\` \\ \n!`;
  const exec = async (body: unknown) => (await server.call('POST', `${api}/exec`, { body })).json.stdout;
  assert.equal(await exec({ argv: ['printf', '%s', tricky] }), tricky);
  assert.equal(await exec({ argv: ['cat'], stdin: tricky }), tricky);
  assert.equal(await exec({ argv: ['sh', '-c', 'printf %s "$X"'], env: { X: tricky } }), tricky);
  assert.equal(await exec({ command: 'pwd', cwd: '/usr' }), '/usr\n');
  assert.equal(await exec({ argv: ['cat'] }), '', 'without stdin the input is at its end');
  const megabytes = 'x'.repeat(3 << 20);
  assert.equal(await exec({ argv: ['wc', '-c'], stdin: megabytes }), `${3 << 20}\n`);
  assert.equal(await exec({ argv: ['true'], stdin: megabytes }), '', 'a program need not read its input');
});

test('commands run under bash where the image has it, else under sh; a missing program is 400', async () => {
  await using server = await ApiServer.start();
  const exec = async (body: unknown) => server.call('POST', `${api}/exec`, { body });
  let api = await server.sandbox('bash');
  assert.equal((await exec({ command: 'test -n "$BASH_VERSION" && echo bash' })).json.stdout, 'bash\n');
  server.sandboxes.missing.add('/bin/bash').add('nowhere');
  api = await server.sandbox('sh');
  assert.equal((await exec({ command: 'echo $0' })).json.stdout, '/bin/sh\n');
  const missing = await exec({ argv: ['nowhere'] });
  assert.equal(missing.status, 400);
  assert.equal(missing.json.error.code, 'program-not-found');
  assert.equal(missing.json.error.path, 'argv');
  server.sandboxes.missing.add('/bin/sh');
  assert.equal((await exec({ command: 'true' })).json.error.path, 'command');
});

test('output beyond the bound is dropped and said to be, never inside a character', async () => {
  await using server = await ApiServer.start();
  const api = await server.sandbox();
  const exec = async (body: unknown) => (await server.call('POST', `${api}/exec`, { body })).json;
  const cut = await exec({ argv: ['printf', 'aüü'], maxOutputBytes: 4 });
  assert.equal(cut.stdout, 'aü');
  assert.equal(cut.truncated, true);
  const fits = await exec({ argv: ['printf', 'aü'], maxOutputBytes: 3 });
  assert.equal(fits.stdout, 'aü');
  assert.equal(fits.truncated, false);
  const big = await exec({ command: 'head -c 5000000 /dev/zero | tr "\\0" x' });
  assert.equal(big.stdout.length, 1 << 20);
  assert.equal(big.truncated, true);
  assert.equal(big.exitCode, 0);
});

test('a command over its time is killed and says so', async () => {
  await using server = await ApiServer.start();
  const api = await server.sandbox();
  const { json } = await server.call('POST', `${api}/exec`, {
    body: { command: 'echo started; sleep 100', timeoutMs: 100 },
  });
  assert.equal(json.timedOut, true);
  assert.equal(json.exitCode, 137);
  assert.equal(json.stdout, 'started\n');
});

test('exec returns when the command exits, though a grandchild holds its output open', async () => {
  await using server = await ApiServer.start();
  const api = await server.sandbox();
  for (const background of ['sleep 100', 'while :; do echo tick; sleep 0.05; done']) {
    const { json } = await server.call('POST', `${api}/exec`, {
      body: { command: `(${background}) & echo $!` },
    });
    assert.equal(json.exitCode, 0);
    const pid = Number(json.stdout.split('\n')[0]);
    assert.ok(pid > 1, json.stdout);
    process.kill(pid, 0); // it lives on
    const group = readFileSync(`/proc/${pid}/stat`, 'utf8').split(' ')[4];
    process.kill(-Number(group), 'SIGKILL');
  }
});

test('a deadline that passes while an exec runs is told to its caller', async () => {
  await using server = await ApiServer.start();
  for (const [kind, words] of [
    ['timeout', /deadline/],
    ['idle-timeout', /nothing happened/],
    ['out-of-memory', /memory/],
    ['terminated', /destroyed/],
  ] as const) {
    const api = await server.sandbox(kind);
    const sandbox = server.sandboxes.findByExternalKey(kind);
    assert.ok(sandbox);
    const flag = join(sandbox.root, 'started');
    const answer = server.call('POST', `${api}/exec`, { body: { command: `touch ${flag}; sleep 100` } });
    await until(() => existsSync(flag));
    await sandbox.end({ kind });
    const { status, json } = await answer;
    assert.equal(status, 410);
    assert.equal(json.error.code, 'sandbox-ended');
    assert.equal(json.error.reason, kind);
    assert.match(json.error.message, /while the command ran/);
    assert.match(json.error.message, words);
    const later = await server.call('POST', `${api}/exec`, { body: { command: 'true' } });
    assert.equal(later.status, 410);
    assert.equal(later.json.error.reason, kind);
  }
});

test('the stream variant sends output as it comes and ends with the exit', async () => {
  await using server = await ApiServer.start();
  const api = await server.sandbox();
  const response = await fetch(`${server.url}${api}/exec/stream`, {
    method: 'POST',
    headers: { authorization: 'Bearer key-for-all', 'content-type': 'application/json' },
    body: JSON.stringify({ command: 'echo one; read line; echo "got $line" >&2; exit 4', stdin: 'ü\n' }),
  });
  assert.equal(response.status, 200);
  assert.match(response.headers.get('content-type') ?? '', /^text\/event-stream/);
  const events = await Array.fromAsync(readEvents(response));
  const text = (name: string) =>
    events.flatMap((event) => (event.event === name ? [String(event.data.text)] : [])).join('');
  assert.equal(text('stdout'), 'one\n');
  assert.equal(text('stderr'), 'got ü\n');
  assert.equal(events.at(-1)?.event, 'exit');
  assert.equal(events.at(-1)?.data.exitCode, 4);
  const refused = await server.call('POST', `${api}/exec/stream`, {
    body: { command: 'true', cwd: '/missing' },
  });
  assert.equal(refused.status, 400, 'what fails before it starts has a status of its own');
});

test('a sandbox that ends during a stream ends it with an error event', async () => {
  await using server = await ApiServer.start();
  const api = await server.sandbox('t');
  const response = await fetch(`${server.url}${api}/exec/stream`, {
    method: 'POST',
    headers: { authorization: 'Bearer key-for-all', 'content-type': 'application/json' },
    body: JSON.stringify({ command: 'echo started; sleep 100' }),
  });
  const events = [];
  for await (const event of readEvents(response)) {
    events.push(event);
    if (event.event === 'stdout') await server.sandboxes.findByExternalKey('t')?.end({ kind: 'timeout' });
  }
  assert.deepEqual(
    events.map(({ event }) => event),
    ['stdout', 'error'],
  );
  assert.match(JSON.stringify(events[1]?.data), /"reason":"timeout"/);
});

test('a caller that hangs up ends its command and lets go of the sandbox', async () => {
  await using server = await ApiServer.start();
  const api = await server.sandbox('t');
  const sandbox = server.sandboxes.findByExternalKey('t');
  assert.ok(sandbox);
  for (const path of ['exec', 'exec/stream']) {
    const hangUp = new AbortController();
    const response = fetch(`${server.url}${api}/${path}`, {
      method: 'POST',
      signal: hangUp.signal,
      headers: { authorization: 'Bearer key-for-all', 'content-type': 'application/json' },
      body: JSON.stringify({ argv: ['sleep', '1000'] }),
    }).then((answer) => answer.text());
    response.catch(() => {}); // it is cut off below
    await until(() => sandbox.processes().some((process) => process.exit === undefined));
    assert.equal(sandbox.holds, 1, 'a running command counts as activity');
    hangUp.abort();
    await assert.rejects(response);
    await until(() => sandbox.processes().every((process) => process.exit !== undefined));
    await until(() => sandbox.holds === 0);
  }
});

test('a sandbox that does not start in time is 425', { timeout: 30_000 }, async (context) => {
  await using server = await ApiServer.start();
  const api = await server.sandbox('t');
  const sandbox = server.sandboxes.findByExternalKey('t');
  assert.ok(sandbox);
  sandbox.state = 'starting';
  sandbox.running = new Promise(() => {});
  context.mock.timers.enable({ apis: ['setTimeout'] });
  const answer = server.call('POST', `${api}/exec`, { body: { command: 'true' } });
  await until(() => sandbox.holds === 1);
  context.mock.timers.tick(10_001);
  const { status, headers } = await answer;
  assert.equal(status, 425);
  assert.equal(headers.get('retry-after'), '1');
  context.mock.timers.reset();
  await delay(0);
});
