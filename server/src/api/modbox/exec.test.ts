import assert from 'node:assert/strict';
import { test } from 'node:test';
import { eventually } from '../../sandboxes/testing/domain.ts';
import { buildImage } from '../../sandboxes/testing/test-images.ts';
import { ApiServer } from './testing/api-server.ts';
import { readEvents } from './testing/events.ts';
import { countHolds } from './testing/holds.ts';

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
  assert.equal(await exec({ command: 'pwd', cwd: '/data' }), '/data\n');
  assert.equal(await exec({ argv: ['cat'] }), '', 'without stdin the input is at its end');
  const megabytes = 'x'.repeat(3 << 20);
  assert.equal(await exec({ argv: ['wc', '-c'], stdin: megabytes }), `${3 << 20}\n`);
  assert.equal(await exec({ argv: ['true'], stdin: megabytes }), '', 'a program need not read its input');
});

test('commands run under bash where the image has it, else under sh; a missing program is 400', async () => {
  await using server = await ApiServer.start();
  const { images } = server.domain;
  const bash = {
    path: 'bin/bash',
    mode: 0o755,
    content: { bytes: Buffer.from('#!/bin/sh\necho bash "$@"') },
  };
  const withBash = await buildImage(images, ['FROM base', 'COPY . /'], { contextFiles: [bash] });
  const exec = async (body: unknown) => server.call('POST', `${api}/exec`, { body });
  let api = await server.sandbox('bash', { imageId: withBash });
  assert.equal((await exec({ command: 'echo $0' })).json.stdout, 'bash -c echo $0\n');
  api = await server.sandbox('sh');
  assert.equal((await exec({ command: 'echo $0' })).json.stdout, '/bin/sh\n');
  const missing = await exec({ argv: ['nowhere'] });
  assert.equal(missing.status, 400);
  assert.equal(missing.json.error.code, 'program-not-found');
  assert.equal(missing.json.error.path, 'argv');
  api = await server.sandbox('empty', { imageId: await buildImage(images, ['FROM scratch']) });
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
    body: { command: 'echo started; sleep 100', timeoutMs: 300 },
  });
  assert.equal(json.timedOut, true);
  assert.equal(json.exitCode, 137);
  assert.ok(['', 'started\n'].includes(json.stdout), 'what it printed by then');
});

test('exec returns when the command exits, though a grandchild holds its output open', async () => {
  await using server = await ApiServer.start();
  const api = await server.sandbox();
  const exec = async (command: string) =>
    (await server.call('POST', `${api}/exec`, { body: { command } })).json;
  for (const background of ['sleep 100', 'while :; do echo tick; sleep 0.05; done']) {
    const { exitCode, stdout } = await exec(`(${background}) & echo $!`);
    assert.equal(exitCode, 0);
    const pid = stdout.split('\n').find((line) => /^\d+$/.test(line));
    assert.equal((await exec(`kill -0 ${pid}`)).exitCode, 0, `${pid} lives on: ${stdout}`);
  }
});

test('the stream variant sends output as it comes and ends with the exit', async () => {
  await using server = await ApiServer.start();
  const api = await server.sandbox();
  const response = await fetch(`${server.url}${api}/exec/stream`, {
    method: 'POST',
    headers: { authorization: `Bearer ${server.apiKey}`, 'content-type': 'application/json' },
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

test('a caller that hangs up ends its command and lets go of the sandbox', async () => {
  await using server = await ApiServer.start();
  const api = await server.sandbox('t');
  const sandbox = server.of('t');
  const holds = countHolds(sandbox);
  for (const path of ['exec', 'exec/stream']) {
    const hangUp = new AbortController();
    const response = fetch(`${server.url}${api}/${path}`, {
      method: 'POST',
      signal: hangUp.signal,
      headers: { authorization: `Bearer ${server.apiKey}`, 'content-type': 'application/json' },
      body: JSON.stringify({ argv: ['sleep', '1000'] }),
    }).then((answer) => answer.text());
    response.catch(() => {}); // it is cut off below
    await eventually(() => sandbox.processes().some((process) => process.exit === undefined));
    assert.ok(holds() > 0, 'a running command counts as activity');
    hangUp.abort();
    await assert.rejects(response);
    await eventually(() => sandbox.processes().every((process) => process.exit !== undefined));
    await eventually(() => holds() === 0);
  }
});
