import assert from 'node:assert/strict';
import { test } from 'node:test';
import { exitCodeOf, type SandboxState, toProcessExit, transitions } from './state.ts';

test('every state leads to the end, and the end leads nowhere', () => {
  for (const start of Object.keys(transitions) as SandboxState[]) {
    const seen = new Set<SandboxState>();
    const visit = (state: SandboxState) => {
      if (seen.has(state)) return;
      seen.add(state);
      transitions[state].forEach(visit);
    };
    visit(start);
    assert.ok(seen.has('ended'), `${start} never ends`);
  }
  assert.deepEqual(transitions.ended, []);
});

test('a signal becomes 128 and its number', () => {
  assert.equal(exitCodeOf(toProcessExit({ kind: 'signal', value: 9, timedOut: true })), 137);
  assert.equal(exitCodeOf(toProcessExit({ kind: 'code', value: 3, timedOut: false })), 3);
});
