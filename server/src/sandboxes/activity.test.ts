import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, mock, test } from 'node:test';
import { IdleClock } from './activity.ts';

describe('IdleClock', () => {
  let fired: number;
  const clock = () => {
    const idle = new IdleClock(1_000, () => fired++);
    idle.start();
    return idle;
  };
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

  test('does not fire while it is stopped, and counts what holds it then', () => {
    const idle = clock();
    const release = idle.hold();
    idle.stop();
    release();
    idle.touch();
    const second = idle.hold();
    mock.timers.tick(10_000);
    idle.start();
    mock.timers.tick(10_000);
    assert.equal(fired, 0);
    second();
    mock.timers.tick(1_000);
    assert.equal(fired, 1);
  });

  test('waits longer once, unless something happens', () => {
    const idle = clock();
    idle.start(5_000);
    mock.timers.tick(4_999);
    assert.equal(fired, 0);
    mock.timers.tick(1);
    assert.equal(fired, 1);
    idle.start(5_000);
    idle.touch();
    mock.timers.tick(1_000);
    assert.equal(fired, 2);
  });
});
