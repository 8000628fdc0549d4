/** What goes on from where sandboxes are, what of them can be changed, and what is told of them, against the real API over the fake engine. */
import assert from 'node:assert/strict';
import { getEventListeners } from 'node:events';
import { after, before, describe, test } from 'node:test';
import { ApiServer } from '../../server/src/api/modbox/testing/api-server.ts';
import {
  type ConnectionOptions,
  type CreateOptions,
  InvalidRequestError,
  type LifeEvent,
  NotFoundError,
  PermissionDeniedError,
  Sandbox,
  secrets,
  UnsupportedError,
  Volume,
} from './index.ts';

describe('with a server that can make checkpoints', () => {
  let server: ApiServer;
  let at: ConnectionOptions;
  let sandbox: Sandbox;
  const make = (options: CreateOptions = {}) => Sandbox.create({ ...at, image: 'base', ...options });
  before(async () => {
    server = await ApiServer.start({ checkpoints: true });
    at = { url: server.url, token: server.token };
    sandbox = await make({ tags: { kind: 'first' } });
  });
  after(() => server?.[Symbol.asyncDispose]());

  test('copies run, with tags of their own', async () => {
    const copies = await sandbox.fork({ count: 2, tags: { kind: 'copy' } });
    assert.equal(new Set([sandbox.id, ...copies.map(({ id }) => id)]).size, 3);
    for (const copy of copies) {
      assert.deepEqual([copy.info.status, copy.info.tags], ['running', { kind: 'copy' }]);
      await copy.terminate();
    }
    const [alike] = await sandbox.fork();
    assert.deepEqual(alike?.info.tags, { kind: 'first' });
    await alike?.terminate();
    await assert.rejects(sandbox.fork({ count: 0 }), InvalidRequestError);
  });

  test('a sandbox goes back to a checkpoint, and others go on from it', async () => {
    await using one = await make();
    const { id, expiresAt } = await one.checkpoint();
    assert.ok(Date.parse(expiresAt) > Date.now());
    assert.deepEqual(
      (await one.checkpoints()).map((each) => each.id),
      [id],
    );
    assert.equal((await one.rollback(id)).status, 'running');
    await using other = await Sandbox.restore(id, { ...at, name: 'other' });
    assert.deepEqual([other.id === one.id, other.info.status, other.info.name], [false, 'running', 'other']);
    await assert.rejects(Sandbox.restore('sn-none', at), NotFoundError);
    await assert.rejects(one.rollback('sn-none'), NotFoundError);
    await Sandbox.deleteCheckpoint(id, at);
    assert.deepEqual(await one.checkpoints(), []);
    await assert.rejects(Sandbox.deleteCheckpoint(id, at), NotFoundError);
  });

  test('a sandbox sleeps until it is needed', async () => {
    await using one = await make({ idleTimeoutSeconds: 3600, idleAction: 'suspend' });
    assert.equal((await one.suspend()).status, 'suspended');
    assert.equal((await one.resume()).status, 'running');
    await one.suspend();
    assert.equal(await one.exec(['echo', 'awake']).text(), 'awake\n');
    await assert.rejects(
      make({ idleAction: 'suspend' }),
      (error) => error instanceof InvalidRequestError && error.path === 'idleAction',
    );
  });

  test('tags, network and mounts change while it runs, and lists are filtered', async () => {
    await using one = await make({ name: 'found', tags: { a: '1', b: '=' } });
    const ids = async (options: Parameters<typeof Sandbox.list>[0]) =>
      (await Array.fromAsync(Sandbox.list({ ...at, ...options }))).map(({ id }) => id);
    assert.deepEqual(await ids({ tags: { a: '1', b: '=' } }), [one.id]);
    assert.deepEqual(await ids({ tags: { a: '1', b: 'x' } }), []);
    assert.deepEqual(await ids({ name: 'found' }), [one.id]);
    assert.deepEqual(await ids({ name: 'lost' }), []);
    assert.deepEqual((await one.setTags({ c: '2' })).tags, { c: '2' });
    assert.deepEqual(await ids({ tags: { c: '2' } }), [one.id]);

    await one.setNetwork('blocked');
    const policies = () => [...server.domain.engine.instances.values()].map((each) => each.networkPolicy);
    assert.ok(
      policies().some(({ kind }) => kind === 'blocked'),
      'the engine was told',
    );
    await one.setNetwork({ domains: ['example.com'] });
    assert.ok(policies().some((each) => each.kind === 'allowlist' && each.domains?.[0] === 'example.com'));
    await assert.rejects(
      one.setNetwork({ domains: ['no domain'] }),
      (error) => error instanceof InvalidRequestError && error.path === 'network.domains.0',
    );
    await assert.rejects(one.setSecretHeaders([]), /was created without/);
    await assert.rejects(one.mountImage('/shown'), UnsupportedError, 'the fake engine has no mounts');
  });

  test("a sandbox's own key makes no copies of it and does not open its network", async () => {
    const keyed = await Sandbox.get(sandbox.id, { url: server.url, token: sandbox.info.key });
    for (const call of [
      () => keyed.fork(),
      () => keyed.checkpoint(),
      () => keyed.setNetwork('open'),
      () => keyed.setTags({}),
      () => keyed.mountImage('/x'),
      () => Array.fromAsync(Volume.list({ url: server.url, token: sandbox.info.key })),
      () => secrets.put('x', {}, { url: server.url, token: sandbox.info.key }),
    ]) {
      await assert.rejects(async () => call(), PermissionDeniedError);
    }
  });

  test('what happens to sandboxes is told as it does', async () => {
    const controller = new AbortController();
    const seen: LifeEvent[] = [];
    const follow = async () => {
      for await (const event of Sandbox.events({ ...at, signal: controller.signal })) {
        seen.push(event);
        if (event.kind === 'ended') return event;
      }
      return undefined;
    };
    const following = follow();
    // The stream is open when it tells of one of these.
    let ended: LifeEvent | undefined;
    while (ended === undefined) {
      await (await make()).terminate();
      ended = await Promise.race([following, Promise.resolve(undefined)]);
    }
    assert.equal(ended.reason, 'terminated');
    const aborted = Sandbox.events({ ...at, signal: controller.signal }).next();
    controller.abort(new Error('enough'));
    await assert.rejects(aborted, /enough/);
    assert.ok(Array.isArray(await sandbox.events()));
  });

  test('a signal that lives on keeps nothing of programs that ended', async () => {
    const { signal } = new AbortController();
    // What listens is ours: fetch's own listeners go when its garbage is collected.
    const deaf: ConnectionOptions['fetch'] = (url, { signal: _, ...init }) => fetch(url, init);
    const mine = await Sandbox.get(sandbox.id, { ...at, fetch: deaf });
    const listeners = () => getEventListeners(signal, 'abort').length;
    for (let round = 0; round < 3; round++) {
      await mine.exec(['true'], { signal });
      await assert.rejects(async () => mine.exec(['no-such-program'], { signal }));
    }
    assert.equal(listeners(), 0);
    const running = mine.exec(['sleep', '60'], { signal });
    await running.id();
    assert.equal(listeners(), 1);
    await running.kill('SIGKILL');
    await running.wait();
    assert.equal(listeners(), 0);
    await assert.rejects(
      sandbox.exec(['sleep', '60']).text({ signal: AbortSignal.abort(new Error('not now')) }),
      /not now/,
    );
  });

  test('volumes hold files whether a sandbox has them or not', async () => {
    const volume = await Volume.create('things', at);
    await volume.write('/a/b.txt', 'täxt');
    await volume.write('/bytes', new Uint8Array([0, 255]));
    assert.equal(await volume.readText('/a/b.txt'), 'täxt');
    assert.deepEqual([...(await volume.read('/bytes'))], [0, 255]);
    const paths = (await volume.files('/', { recursive: true })).map(({ path, type }) => `${path} ${type}`);
    assert.deepEqual(paths.sort(), ['/a directory', '/a/b.txt file', '/bytes file']);
    await volume.write('/bytes', '');
    assert.equal((await volume.read('/bytes')).length, 0);
    await assert.rejects(volume.remove('/a'), /recursive/);
    await volume.remove('/a', { recursive: true });
    await assert.rejects(volume.read('/a/b.txt'), NotFoundError);
    await assert.rejects(volume.read('../x'), InvalidRequestError);
    assert.ok((await Array.fromAsync(Volume.list(at))).some(({ name }) => name === 'things'));
    assert.equal((await Volume.get('things', at)).info.id, volume.info.id);
    await volume.delete();
    await assert.rejects(Volume.get('things', at), NotFoundError);
  });

  test('secrets are stored by name, given to sandboxes, and never told', async () => {
    const { name, keys } = await secrets.put('keys', { A: 'one', B: 'two' }, at);
    assert.deepEqual([name, [...keys].sort()], ['keys', ['A', 'B']]);
    assert.equal(await sandbox.exec(['sh', '-c', 'echo $A$B'], { secrets: ['keys'] }).text(), 'onetwo\n');
    await secrets.put('keys', { A: 'three' }, at);
    assert.equal(await sandbox.exec(['sh', '-c', 'echo $A$B'], { secrets: ['keys'] }).text(), 'three\n');
    const listed = await Array.fromAsync(secrets.list(at));
    assert.ok(listed.some((each) => each.name === 'keys') && !JSON.stringify(listed).includes('three'));
    await secrets.delete('keys', at);
    await assert.rejects(secrets.delete('keys', at), NotFoundError);
  });
});
