import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { AgentStats } from '../agent/messages.ts';
import { type WatchedAgent, watchAgent } from './agent-watch.ts';

const stats: AgentStats = { rssKiB: 1, processes: 1, openFiles: 1 };
const times = { lookEveryMs: 1, answerWithinMs: 20, lostAfterMs: 100 };

/** An agent that answers until it is stopped, and again once it was woken. */
function watched(more: Partial<WatchedAgent> = {}) {
  const state = { stopped: false, asked: 0, woken: 0 };
  const agent = {
    stats: async (signal: AbortSignal) => {
      state.asked++;
      if (!state.stopped) return stats;
      return new Promise<AgentStats>((_, reject) => {
        signal.addEventListener('abort', () => reject(signal.reason), { once: true });
      });
    },
  };
  const wake = async () => {
    state.woken++;
    state.stopped = false;
  };
  return { state, parts: { agent, wake, isNeeded: () => true, isPaused: () => false, ...more } };
}

const until = async (condition: () => boolean) => {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 1));
};

test('an agent that was stopped is woken and watched on', async () => {
  const { state, parts } = watched();
  const over = new AbortController();
  const watching = watchAgent(parts, over.signal, times);
  for (const round of [1, 2]) {
    state.stopped = true;
    await until(() => state.woken === round);
  }
  const { asked } = state;
  await until(() => state.asked > asked);
  over.abort(new Error('over'));
  await assert.rejects(watching, /over/);
});

test('an agent that cannot be woken is lost', async () => {
  const { state, parts } = watched({ wake: () => Promise.reject(new Error('no')) });
  state.stopped = true;
  await watchAgent(parts, new AbortController().signal, times);
  assert.ok(state.asked > 1);
});

test('an agent that may be silent for longer is lost later', async () => {
  const { state, parts } = watched({
    wake: () => Promise.reject(new Error('no')),
    silenceMs: 3 * times.lostAfterMs,
  });
  state.stopped = true;
  const begin = performance.now();
  await watchAgent(parts, new AbortController().signal, times);
  assert.ok(performance.now() - begin > 3 * times.lostAfterMs);
});

test('an agent that nobody needs is not asked, one that is held on purpose is not woken', async () => {
  let looks = 0;
  const over = new AbortController();
  const look = () => {
    if (++looks > 10) over.abort(new Error('over'));
    return false;
  };
  const idle = watched({ isNeeded: look });
  await assert.rejects(watchAgent(idle.parts, over.signal, times), /over/);
  assert.equal(idle.state.asked, 0);

  const paused = new AbortController();
  const held = watched({
    isPaused: () => {
      if (held.state.asked > 0) paused.abort(new Error('over'));
      return held.state.asked > 0;
    },
  });
  held.state.stopped = true;
  await assert.rejects(watchAgent(held.parts, paused.signal, times), /over/);
  assert.equal(held.state.woken, 0);
});
