import assert from 'node:assert/strict';
import { test } from 'node:test';
import { describeServers } from './status.ts';

test('of several servers it says which leads, what each keeps, and which is lost', () => {
  assert.deepEqual(describeServers([]), []);
  assert.deepEqual(
    describeServers([
      { place: '10.0.0.11:7423', leads: true, lives: true, sandboxes: 1 },
      { place: '10.0.0.12:7423', leads: false, lives: true, sandboxes: 40 },
      { place: '10.0.0.13:7423', leads: false, lives: false, sandboxes: 2 },
      { leads: false, lives: true, sandboxes: 0 },
    ]),
    [
      ['servers', '10.0.0.11:7423 leads, and keeps 1 sandbox'],
      ['', '10.0.0.12:7423 keeps 40 sandboxes'],
      ['', '! 10.0.0.13:7423 is lost; it keeps 2 sandboxes until the one that leads takes over'],
      ['', 'one that stops keeps 0 sandboxes'],
    ],
  );
});
