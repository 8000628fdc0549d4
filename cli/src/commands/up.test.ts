import assert from 'node:assert/strict';
import { test } from 'node:test';
import { describeIsolation } from './up.ts';

test('a start says what isolates sandboxes, and warns only who did not choose it', () => {
  assert.match(describeIsolation('gvisor', 'auto'), /^Sandboxes run under gVisor/);
  assert.match(describeIsolation('runc', 'auto'), /^WARNING: gVisor does not work here/);
  assert.match(describeIsolation('runc', 'runc'), /^Sandboxes run under runc, as it was asked for/);
  assert.match(describeIsolation(undefined, 'gvisor'), /^WARNING: there is no runtime/);
});
