/** What sandboxes take, and where the time of their starts went, over HTTP. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { ApiServer } from '../modbox/testing/api-server.ts';

describe('what sandboxes take', () => {
  let api: ApiServer;
  before(async () => {
    api = await ApiServer.start();
  });
  after(() => api[Symbol.asyncDispose]());

  const ask = async (path: string, key?: string) => {
    const { status, text } = await api.call('GET', path, key === undefined ? {} : { key });
    return { status, body: JSON.parse(text) };
  };

  test('tells of each that runs what it takes, and how it started; of one that ended neither', async () => {
    await api.sandbox('one');
    const one = api.of('one');
    const { body } = await ask('/v1/usage');
    assert.deepEqual(
      body.sandboxes.map(({ id }: { id: string }) => id),
      [one.id],
    );
    const {
      id: _id,
      memoryLimitMiB: _limit,
      sentBytes,
      receivedBytes,
      ports,
      ...counted
    } = body.sandboxes[0];
    for (const [name, value] of Object.entries(counted)) assert.equal(typeof value, 'number', name);
    // The fake engine has no network.
    assert.deepEqual([sentBytes, receivedBytes], [null, null]);
    assert.deepEqual(ports, { connections: 0, sentBytes: 0, receivedBytes: 0 });
    const start = await ask(`/v1/sandboxes/${one.id}/startup`);
    assert.ok(start.body.startup.ms >= 0);
    assert.ok('plan' in start.body.startup.phases, JSON.stringify(start.body));

    await one.terminate();
    assert.deepEqual((await ask('/v1/usage')).body, { sandboxes: [] });
    assert.deepEqual((await ask(`/v1/sandboxes/${one.id}/startup`)).status, 200);
    assert.equal((await ask('/v1/sandboxes/sb-none/startup')).status, 404);
  });

  test('is for tokens, and for no key of a sandbox', async () => {
    await api.sandbox('other');
    const key = api.keyOf(api.of('other').id);
    assert.equal((await ask('/v1/usage', key)).status, 403);
  });
});
