import assert from 'node:assert/strict';
import { test } from 'node:test';
import { exitCodeOf, toProcessExit } from './state.ts';

test('a signal becomes 128 and its number', () => {
  assert.equal(exitCodeOf(toProcessExit({ kind: 'signal', value: 9, timedOut: true })), 137);
  assert.equal(exitCodeOf(toProcessExit({ kind: 'code', value: 3, timedOut: false })), 3);
});
