import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, mock, test } from 'node:test';
import { IdleClock } from './activity.ts';

describe('IdleClock', () => {
  let fired: number;
  const clock = () => new IdleClock(1_000, () => fired++);
  beforeEach(() => {
    fired = 0;
    mock.timers.enable({ apis: ['setTimeout'] });
  });
  afterEach(() => mock.timers.reset());

  test('fires when nothing happened for its time, and begins anew with each touch', () => {
    const idle = clock();
    mock.timers.tick(999);
    idle.touch();
    mock.timers.tick(999);
    assert.equal(fired, 0);
    mock.timers.tick(1);
    assert.equal(fired, 1);
  });

  test('does not run while anything holds it, and begins when the last one lets go', () => {
    const idle = clock();
    const first = idle.hold();
    const second = idle.hold();
    idle.touch();
    mock.timers.tick(10_000);
    first();
    first(); // letting go twice is letting go once
    mock.timers.tick(10_000);
    assert.equal(fired, 0);
    second();
    mock.timers.tick(1_000);
    assert.equal(fired, 1);
  });

  test('never fires once it is stopped', () => {
    const idle = clock();
    const release = idle.hold();
    idle.stop();
    release();
    idle.touch();
    mock.timers.tick(10_000);
    assert.equal(fired, 0);
  });
});
