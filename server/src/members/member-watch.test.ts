/** When the server that leads takes another one for gone. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import net from 'node:net';
import { type TestContext, test } from 'node:test';
import { type MemberId, newMemberId } from '../ids.ts';
import { eventually } from '../sandboxes/testing/domain.ts';
import { createLogger } from '../telemetry/logger.ts';
import type { Peer } from '../transport/peer-link.ts';
import { PeerSessions } from '../transport/peer-sessions.ts';
import { MemberWatch } from './member-watch.ts';
import { MemberRegistry, type MemberRepository, type MemberRow } from './registry.ts';

const logger = createLogger('silent');
const fingerprint = `sha256:${'0'.repeat(64)}`;

type Row = MemberRow & { lives: boolean };

/** What the database would say. */
class Rows implements MemberRepository {
  rows: Row[] = [];
  readonly taken: number[] = [];
  /** Who has its lock back by the time that somebody takes it. */
  isBack = false;
  looks = 0;

  put(row: MemberRow): void {
    this.rows.push({ ...row, lives: true });
  }
  delete(id: MemberId): void {
    this.rows = this.rows.filter((row) => row.id !== id);
  }
  all() {
    this.looks++;
    return this.rows;
  }
  takeLock(lockKey: number): boolean {
    if (this.isBack) return false;
    this.taken.push(lockKey);
    return true;
  }
}

async function watching(t: TestContext, place?: Peer) {
  const rows = new Rows();
  const sessions = new PeerSessions({ logger, patienceMs: 1 });
  const clock = { now: 0 };
  const watch = new MemberWatch({
    registry: new MemberRegistry(rows),
    ...{ sessions, logger, key: randomBytes(32), dataDir: '/nowhere', lookMs: 5 },
    place: () => place,
    now: () => clock.now,
  });
  const told: string[] = [];
  const failing = { times: 0 };
  const stop = watch.watch({
    heard: () => {},
    hearAnew: () => {},
    takeOver: async (id) => {
      told.push(`take over ${id}`);
      if (failing.times-- > 0) throw new Error('the cluster does not answer');
    },
    clearAway: async (id) => void told.push(`clear away ${id}`),
  });
  t.after(() => {
    stop();
    sessions.close();
  });
  /** One that listens where the row says, or not. */
  const add = (at: Peer | undefined): Row => {
    const row = { id: newMemberId(), lockKey: rows.rows.length + 1, sinceMs: 0, lives: true };
    const made = { ...row, place: at ? JSON.stringify(at) : '' };
    rows.rows.push(made);
    return made;
  };
  const looked = async () => {
    const before = rows.looks;
    await eventually(() => rows.looks > before + 2);
  };
  return { rows, watch, told, clock, failing, add, looked };
}

async function listening(t: TestContext): Promise<{ peer: Peer; close: () => Promise<void> }> {
  const server = net.createServer((socket) => socket.destroy()).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as net.AddressInfo;
  const close = async () => {
    if (!server.listening) return;
    server.close();
    await once(server, 'close');
  };
  t.after(close);
  return { peer: { host: '127.0.0.1', port, fingerprint }, close };
}

test('one that the database knows is given sandboxes in its turn; one that it does not know is not', async (t) => {
  const { add, watch, looked } = await watching(t);
  const { peer } = await listening(t);
  const [one, two, gone] = [add(peer), add(peer), add(peer)];
  gone.lives = false;
  await looked();
  assert.deepEqual(
    new Set([watch.choose(), watch.choose(), watch.choose(), watch.choose()]),
    new Set([one.id, two.id]),
  );
});

test('one whose lock is free is gone once nobody listens where it did', async (t) => {
  const { add, told, rows, looked } = await watching(t);
  const { peer, close } = await listening(t);
  const row = add(peer);
  row.lives = false;
  await looked();
  assert.deepEqual(told, []);
  await close();
  await eventually(() => told.length > 0);
  assert.deepEqual(told, [`take over ${row.id}`]);
  assert.deepEqual(rows.taken, [row.lockKey], 'first it cannot have its lock any more');
  assert.deepEqual(rows.rows, []);
});

test('one that could not be taken over is so at the next look, though its lock is taken now', async (t) => {
  const { add, told, rows, failing } = await watching(t);
  failing.times = 2;
  const row = add(undefined);
  row.lives = false;
  await eventually(() => rows.taken.length > 0);
  row.lives = true; // it is this server's
  await eventually(() => rows.rows.length === 0);
  assert.deepEqual(told, Array(3).fill(`take over ${row.id}`));
  assert.equal(rows.taken.length, 1);
});

test('one that is silent and cannot be looked for is gone after a while, which begins anew when it is back', async (t) => {
  const { add, told, clock, looked } = await watching(t);
  const { peer } = await listening(t);
  const row = add(peer);
  row.lives = false;
  await looked();
  clock.now = 19_000;
  await looked();
  row.lives = true;
  await looked();
  row.lives = false;
  await looked();
  clock.now = 38_000;
  await looked();
  assert.deepEqual(told, []);
  clock.now = 40_000;
  await eventually(() => told.length > 0);
  clock.now = 61_000;
  await eventually(() => told.length > 1);
  assert.deepEqual(
    told,
    [`take over ${row.id}`, `clear away ${row.id}`],
    'what it made in its last moment goes as well',
  );
});

test('one that is back in that moment goes on', async (t) => {
  const { add, told, rows, watch, looked } = await watching(t);
  rows.isBack = true;
  const row = add(undefined);
  row.lives = false;
  await looked();
  assert.deepEqual(told, []);
  assert.equal(watch.lives(row.id), true);
});

test('one that has let go, or where another came after it, is gone at once', async (t) => {
  const { peer: own } = await listening(t);
  const { add, told, looked } = await watching(t, own);
  const { peer } = await listening(t);
  const [left, before, after, here] = [add(undefined), add(peer), add(peer), add(own)];
  for (const row of [left, before, here]) row.lives = false;
  await eventually(() => told.length === 3);
  await looked();
  assert.deepEqual(told.toSorted(), [left, before, here].map(({ id }) => `take over ${id}`).toSorted());
  assert.ok(after.lives);
});
