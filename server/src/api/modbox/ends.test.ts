/** What callers are told of a sandbox that is not there for them: not yet, not any more, or gone under them. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Sandbox } from '../../sandboxes/sandboxes.ts';
import { deadline, eventually } from '../../sandboxes/testing/domain.ts';
import { ApiServer } from './testing/api-server.ts';
import { readEvents } from './testing/events.ts';
import { countHolds } from './testing/holds.ts';

test('why a sandbox ended while an exec ran is told to its caller, and to all later ones', async () => {
  await using server = await ApiServer.start();
  const { domain } = server;
  for (const [kind, words, end] of [
    ['out-of-memory', /memory/, (sandbox: Sandbox) => domain.instance(sandbox).runOutOfMemory()],
    ['crashed', /crashed/, (sandbox: Sandbox) => domain.instance(sandbox).crash()],
    ['terminated', /destroyed/, (sandbox: Sandbox) => sandbox.terminate()],
  ] as const) {
    const api = await server.sandbox(kind);
    const sandbox = server.of(kind);
    const answer = server.call('POST', `${api}/exec`, { body: { argv: ['sleep', '100'] } });
    await eventually(() => sandbox.processes().length > 0);
    await end(sandbox);
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

test('a sandbox that is being ended is gone for every call, and each is told why', async () => {
  await using server = await ApiServer.start();
  const api = await server.sandbox('t');
  const held = server.domain.engine.faults.hold('destroy');
  const ending = server.call('DELETE', '/modbox/v1/sandboxes/t');
  await held.reached;
  const calls = [
    server.call('GET', '/modbox/v1/sandboxes/t/wait'),
    server.call('POST', `${api}/exec`, { body: { command: 'true' } }),
    server.call('POST', `${api}/exec/stream`, { body: { command: 'true' } }),
    server.call('POST', `${api}/processes`, { body: { command: 'true' } }),
    server.call('GET', `${api}/files?path=/data/lower.txt`),
  ];
  held.release();
  for (const { status, json } of await Promise.all(calls)) {
    assert.equal(status, 410);
    assert.equal(json.error.reason, 'terminated');
  }
  assert.equal((await ending).json.status, 'ended');
});

test('an exec that waits for a sandbox which cannot start is told so', async () => {
  await using server = await ApiServer.start();
  const { faults } = server.domain.engine;
  const reached = Promise.withResolvers<void>();
  const failing = Promise.withResolvers<void>();
  faults.at('prepare', async () => {
    reached.resolve();
    await failing.promise;
  });
  const body = { taskId: 't', imageId: 'base' };
  const { json: made } = await server.call('POST', '/modbox/v1/sandboxes', { body });
  await reached.promise;
  const holds = countHolds(server.of('t'));
  const path = `/sandboxes/${made.sandboxId}/modbox/api/exec`;
  const answer = server.call('POST', path, { body: { command: 'true' } });
  await eventually(() => holds() > 0);
  failing.reject(new Error('no room for it'));
  const { status, json } = await answer;
  assert.deepEqual([status, json.error.reason], [410, 'start-failed']);
});

test('a sandbox whose time is over says whether it was its deadline or that nothing happened', async () => {
  await using server = await ApiServer.start();
  for (const [ttlMode, reason, words] of [
    ['absolute', 'timeout', /deadline/],
    ['idle', 'idle-timeout', /nothing happened/],
  ] as const) {
    const body = { taskId: ttlMode, imageId: 'base', ttlSeconds: 1, ttlMode };
    const { json: made } = await server.call('POST', '/modbox/v1/sandboxes', { body });
    await server.domain.manager.get(made.sandboxId as Sandbox['id']).wait(60_000, deadline());
    const path = `/sandboxes/${made.sandboxId}/modbox/api/exec`;
    const { status, json } = await server.call('POST', path, { body: { command: 'true' } });
    assert.equal(status, 410);
    assert.equal(json.error.reason, reason);
    assert.match(json.error.message, words);
  }
});

test('a sandbox that ends during a stream ends it with an error event', async () => {
  await using server = await ApiServer.start();
  const api = await server.sandbox('t');
  const response = await fetch(`${server.url}${api}/exec/stream`, {
    method: 'POST',
    headers: { authorization: `Bearer ${server.apiKey}`, 'content-type': 'application/json' },
    body: JSON.stringify({ command: 'echo started; sleep 100' }),
  });
  const events = [];
  for await (const event of readEvents(response)) {
    events.push(event);
    if (event.event === 'stdout') await server.of('t').terminate();
  }
  assert.deepEqual(
    events.map(({ event }) => event),
    ['stdout', 'error'],
  );
  assert.match(JSON.stringify(events[1]?.data), /"reason":"terminated"/);
});

test('a sandbox that does not start in time is 425', async (context) => {
  await using server = await ApiServer.start();
  const held = server.domain.engine.faults.hold('prepare');
  const body = { taskId: 't', imageId: 'base' };
  const { json: made } = await server.call('POST', '/modbox/v1/sandboxes', { body });
  const holds = countHolds(server.of('t'));
  context.mock.timers.enable({ apis: ['setTimeout'] });
  const path = `/sandboxes/${made.sandboxId}/modbox/api/exec`;
  const answer = server.call('POST', path, { body: { command: 'true' } });
  while (holds() === 0) await new Promise(setImmediate);
  context.mock.timers.tick(10_001);
  const { status, headers } = await answer;
  context.mock.timers.reset();
  assert.equal(status, 425);
  assert.equal(headers.get('retry-after'), '1');
  held.release();
});
