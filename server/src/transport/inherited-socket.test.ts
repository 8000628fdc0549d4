import assert from 'node:assert/strict';
import { test } from 'node:test';
import { inheritedSocket } from './inherited-socket.ts';

test('a socket is taken when it was handed to this process, and only then', () => {
  const pid = 42;
  assert.equal(inheritedSocket({ LISTEN_FDS: '1' }, pid), 3);
  assert.equal(inheritedSocket({ LISTEN_FDS: '2', LISTEN_PID: '42' }, pid), 3);
  assert.equal(inheritedSocket({ LISTEN_FDS: '1', LISTEN_PID: '41' }, pid), undefined);
  for (const count of [undefined, '', '0', '-1', 'one']) {
    assert.equal(inheritedSocket({ LISTEN_FDS: count }, pid), undefined);
  }
});
