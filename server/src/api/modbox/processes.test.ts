import assert from 'node:assert/strict';
import { test } from 'node:test';
import { atLeast, deadline, eventually } from '../../sandboxes/testing/domain.ts';
import { ApiServer } from './testing/api-server.ts';
import { readEvents } from './testing/events.ts';

test('a background process outlives its request, is listed, and is killed', async () => {
  await using server = await ApiServer.start();
  const api = await server.sandbox('t');
  await server.call('POST', `${api}/exec`, { body: { argv: ['true'] } });
  const started = await server.call('POST', `${api}/processes`, { body: { argv: ['sleep', '1000'] } });
  assert.equal(started.status, 201);
  const { processId } = started.json;
  assert.equal(started.json.status, 'running');
  const list = await server.call('GET', `${api}/processes`);
  assert.deepEqual(
    list.json.processes.map((process) => process.processId),
    [processId],
    'execs are not listed',
  );
  const killed = await server.call('POST', `${api}/processes/${processId}/kill`);
  assert.equal(killed.status, 200);
  await server
    .of('t')
    .processes()
    .find(({ id }) => id === processId)
    ?.wait(deadline());
  const { json } = await server.call('GET', `${api}/processes/${processId}`);
  assert.equal(json.status, 'exited');
  assert.equal((await server.call('GET', `${api}/processes`)).json.processes[0]?.exitCode, 143);
  const again = await server.call('POST', `${api}/processes/${processId}/kill`, {
    body: { signal: 'SIGKILL' },
  });
  assert.equal(again.status, 200, 'killing an ended one changes nothing');
  for (const path of [`bg-none`, `bg-none/logs`, `bg-none/logs/stream`, 'entrypoint']) {
    assert.equal((await server.call('GET', `${api}/processes/${path}`)).status, 404);
  }
  assert.equal((await server.call('POST', `${api}/processes/bg-none/kill`)).status, 404);
});

test('logs are read on from an offset, without cutting characters, to the end', async () => {
  await using server = await ApiServer.start();
  const api = await server.sandbox('t');
  const { json: started } = await server.call('POST', `${api}/processes`, {
    body: { command: 'cat; echo oops >&2', stdin: 'aäö' },
  });
  const logs = async (query: string) =>
    (await server.call('GET', `${api}/processes/${started.processId}/logs?${query}`)).json;
  const [process] = server.of('t').processes();
  await eventually(
    () => process?.stdout.ended === true && process.stderr.ended && process.exit !== undefined,
  );
  const whole = await logs('');
  assert.deepEqual(
    [
      whole.stdout,
      whole.stderr,
      whole.stdoutOffset,
      whole.stderrOffset,
      whole.complete,
      whole.process.exitCode,
    ],
    ['aäö', 'oops\n', 5, 5, true, 0],
  );
  const first = await logs('maxBytes=4');
  assert.deepEqual([first.stdout, first.stdoutOffset, first.complete], ['aä', 3, false]);
  const rest = await logs(`stdoutOffset=${first.stdoutOffset}&stderrOffset=5`);
  assert.deepEqual([rest.stdout, rest.stderr, rest.complete], ['ö', '', true]);
  const beyond = await logs('stdoutOffset=999');
  assert.deepEqual([beyond.stdout, beyond.stdoutOffset], ['', 999]);
});

test('logs are followed from the start or an event id, and end with the exit', async () => {
  await using server = await ApiServer.start();
  const api = await server.sandbox('t');
  const { json: started } = await server.call('POST', `${api}/processes`, {
    body: { command: 'echo one; until [ -e go ]; do sleep 0.01; done; echo two' },
  });
  const follow = (headers = {}) =>
    fetch(`${server.url}${api}/processes/${started.processId}/logs/stream`, {
      headers: { authorization: `Bearer ${server.apiKey}`, ...headers },
    });
  let id = '';
  const events: string[] = [];
  for await (const event of readEvents(await follow())) {
    events.push(`${event.event} ${String(event.data.text ?? event.data.exitCode)}`);
    if (event.data.text === 'one\n') {
      id = event.id ?? '';
      await server.call('PUT', `${api}/files?path=/go`, { raw: '' });
    }
  }
  assert.deepEqual(events, ['stdout one\n', 'stdout two\n', 'exit 0']);
  const resumed = await Array.fromAsync(readEvents(await follow({ 'last-event-id': id })));
  assert.deepEqual(
    resumed.map(({ event, data }) => `${event} ${String(data.text)}`),
    ['stdout two\n', 'exit undefined'],
  );
});

test('logs stay readable after the sandbox ended; starting there is 410', async () => {
  await using server = await ApiServer.start();
  const api = await server.sandbox('t');
  const { json } = await server.call('POST', `${api}/processes`, {
    body: { command: 'echo here; sleep 1000' },
  });
  const [process] = server.of('t').processes();
  assert.ok(process);
  await atLeast(process.stdout, 'here\n'.length);
  await server.of('t').terminate();
  const logs = await server.call('GET', `${api}/processes/${json.processId}/logs`);
  assert.equal(logs.json.stdout, 'here\n');
  assert.equal((await server.call('POST', `${api}/processes`, { body: { argv: ['true'] } })).status, 410);
});
