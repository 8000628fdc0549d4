import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtemp, rm, stat } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, beforeEach, describe, it } from 'node:test';
import { AgentListener } from './agent-listener.ts';

const scratch = await mkdtemp(join(tmpdir(), 'skerry-listener-'));
after(() => rm(scratch, { recursive: true, force: true }));

describe('AgentListener', () => {
  const path = join(scratch, 'agent.sock');
  let listener: AgentListener;
  let peers: Socket[] = [];
  const never = new AbortController().signal;

  const dialIn = async (hello: string): Promise<Socket> => {
    const peer = connect(path);
    peers.push(peer);
    peer.on('error', () => {});
    await once(peer, 'connect');
    peer.write(hello);
    return peer;
  };

  /** `once` would reject for the reset that comes before the close. */
  const closed = (peer: Socket): Promise<unknown> => new Promise((resolve) => peer.once('close', resolve));

  beforeEach(async () => {
    listener = new AgentListener(path);
    await listener.listen();
  });
  afterEach(async () => {
    for (const peer of peers) peer.destroy();
    peers = [];
    await listener.close();
  });

  it('hands out a spare with all that was sent on it', async () => {
    await dialIn('hello');
    await listener.connection;
    const channel = await listener.dial(never);
    channel.on('data', () => {}).resume();
    const [data] = await once(channel, 'data');
    assert.equal(data.toString(), 'hello');
  });

  it('keeps little of what comes while nobody reads', async () => {
    const dialled = listener.dial(never);
    const peer = await dialIn('1');
    const channel = await dialled;
    await once(channel, 'readable', { signal: AbortSignal.timeout(10_000) });
    channel.pause();
    for (const more of ['2', '3', '4']) {
      await new Promise((resolve) => peer.write(more, resolve));
      // The event loop was at all connections by the time that a later one was read from.
      await dialIn(more);
      await once((await listener.dial(never)).resume(), 'data');
    }
    assert.equal(channel.readableLength, 1);
  });

  it('gives a waiting caller the next connection, in order', async () => {
    const [first, second] = [listener.dial(never), listener.dial(never)];
    await dialIn('1');
    await dialIn('2');
    for (const [dialled, expected] of [
      [first, '1'],
      [second, '2'],
    ] as const) {
      const [data] = await once((await dialled).resume(), 'data');
      assert.equal(data.toString(), expected);
    }
  });

  it('does not hand out a spare that closed, and tells when the last connection is gone', async () => {
    const lost = new Promise<void>((resolve) => listener.onLost(resolve));
    const peer = await dialIn('x');
    await listener.connection;
    peer.end();
    await lost;
    assert.equal(listener.connected, false);
    const abort = new AbortController();
    const dialled = listener.dial(abort.signal);
    abort.abort(new Error('enough'));
    await assert.rejects(dialled, /enough/);
  });

  it('drops spares that talk too much, and more spares than it keeps', async () => {
    const loud = await dialIn('x'.repeat(5000));
    await closed(loud);
    const many = await Promise.all(Array.from({ length: 30 }, () => dialIn('h')));
    await Promise.race(many.map(closed));
    const channel = await listener.dial(never);
    assert.equal(channel.destroyed, false);
  });

  it('refuses waiting and later callers once told so', async () => {
    const waiting = listener.dial(never);
    listener.refuse(new Error('gone'));
    await assert.rejects(waiting, /gone/);
    await assert.rejects(listener.dial(never), /gone/);
  });

  it('takes the place of a socket an earlier server left, for root only', async () => {
    const later = new AgentListener(path);
    await later.listen();
    assert.equal((await stat(path)).mode & 0o777, 0o600);
    await dialIn('again');
    await later.connection;
    await later.close();
  });
});
