import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { SkerryError } from './errors/skerry-error.ts';
import { lead } from './lead.ts';
import { createLogger } from './telemetry/logger.ts';

function leading(t: TestContext) {
  t.mock.timers.enable({ apis: ['setInterval'] });
  const kept = new Map<string, string>();
  const lost: string[] = [];
  const state = { nowMs: 0, fails: undefined as SkerryError | undefined, port: 1 };
  const answer = <T>(value: T): T => {
    if (state.fails) throw state.fails;
    return value;
  };
  const stop = lead({
    settings: {
      get: (key) => answer(kept.get(key)),
      set: (key, value) => void answer(kept.set(key, value)),
    },
    where: () => ({ host: 'here', port: state.port, fingerprint: 'sha256:0' }),
    logger: createLogger('silent'),
    now: () => state.nowMs,
    onLost: (why) => lost.push(why),
  });
  t.after(stop);
  const pass = async (ms: number) => {
    for (const end = state.nowMs + ms; state.nowMs < end; state.nowMs += 1000) {
      t.mock.timers.tick(1000);
      await setImmediate(); // a chore is begun anew when the last one is over
    }
  };
  return { state, lost, pass, said: () => JSON.parse(kept.get('leader') ?? '') };
}

test('it says where it listens, and again when that changes', async (t) => {
  const { state, said, pass, lost } = leading(t);
  assert.deepEqual(said(), { host: 'here', port: 1, fingerprint: 'sha256:0' });
  state.port = 2;
  await pass(4000);
  assert.equal(said().port, 2);
  assert.deepEqual(lost, []);
});

test('it is over at once where another leads', async (t) => {
  const { state, pass, lost } = leading(t);
  state.fails = new SkerryError('conflict', 'Another Skerry server works on the database.');
  await pass(4000);
  assert.match(lost[0] ?? '', /another server leads/);
});

test('it is over where the database was silent for so long that another may lead soon, and not before', async (t) => {
  const { state, pass, lost } = leading(t);
  state.fails = new SkerryError('unavailable', 'The database does not answer.');
  await pass(10_000);
  assert.deepEqual(lost, []);
  state.fails = undefined;
  await pass(4000);
  state.fails = new SkerryError('unavailable', 'The database does not answer.');
  await pass(12_000);
  assert.deepEqual(lost, []);
  await pass(8000);
  assert.match(lost[0] ?? '', /does not answer/);
});
