import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { RefillPace } from './refill-pace.ts';

describe('the pace of refills', () => {
  it('holds none back while nobody waits for a start', () => {
    const pace = new RefillPace();
    for (const making of [0, 1, 2]) assert.equal(pace.allows(0, { starts: 'none', making }), true);
  });

  it('leaves starts alone that are over soon', () => {
    const pace = new RefillPace();
    for (let nowMs = 0; nowMs < 500; nowMs += 100)
      assert.equal(pace.allows(nowMs, { starts: 'made', making: 0 }), false);
    assert.equal(pace.allows(500, { starts: 'none', making: 0 }), true);
    assert.equal(pace.allows(600, { starts: 'made', making: 0 }), false);
  });

  it('leaves starts alone, however long they go on, that were all given what waited', () => {
    const pace = new RefillPace();
    for (let nowMs = 0; nowMs < 10_000; nowMs += 100)
      assert.equal(pace.allows(nowMs, { starts: 'given', making: 0 }), false);
  });

  it('counts from when somebody waits for one that is made until a rest, also beside those given one', () => {
    const pace = new RefillPace();
    assert.equal(pace.allows(0, { starts: 'given', making: 0 }), false);
    assert.equal(pace.allows(600, { starts: 'made', making: 0 }), false);
    assert.equal(pace.allows(1_100, { starts: 'given', making: 0 }), true);
    pace.took(1_200, 100, 'given');
    assert.equal(pace.allows(1_250, { starts: 'given', making: 0 }), false);
    assert.equal(pace.allows(1_300, { starts: 'given', making: 0 }), true);
    assert.equal(pace.allows(1_400, { starts: 'none', making: 0 }), true);
    assert.equal(pace.allows(3_000, { starts: 'given', making: 0 }), false);
  });

  it('leaves many that were given one the time for their first programs, and few none', () => {
    const pace = new RefillPace();
    for (let count = 0; count < 4; count++) pace.gave(0);
    assert.equal(pace.allows(0, { starts: 'none', making: 0 }), true);
    for (let count = 0; count < 54; count++) pace.gave(1_000);
    assert.equal(pace.allows(2_999, { starts: 'none', making: 0 }), false);
    assert.equal(pace.allows(3_000, { starts: 'none', making: 0 }), true);
    assert.equal(pace.allows(3_000, { starts: 'none', making: 1 }), true);
    for (let count = 0; count < 1_000; count++) pace.gave(10_000);
    assert.equal(pace.allows(13_999, { starts: 'none', making: 0 }), false);
    assert.equal(pace.allows(14_000, { starts: 'none', making: 0 }), true);
  });

  it('leaves the first start after a rest alone, however long ago the last one was made', () => {
    const pace = new RefillPace();
    pace.took(1_000, 80, 'none');
    assert.equal(pace.allows(11_000, { starts: 'made', making: 0 }), false);
    assert.equal(pace.allows(11_499, { starts: 'made', making: 0 }), false);
    assert.equal(pace.allows(11_500, { starts: 'made', making: 0 }), true);
  });

  it('has half of the time beside starts that never end, with one at a time', () => {
    const pace = new RefillPace();
    const [tookMs, stepMs, endMs] = [300, 50, 60_000];
    let made = 0;
    let madeAtMs: number | undefined;
    for (let nowMs = 0; nowMs < endMs; nowMs += stepMs) {
      if (madeAtMs !== undefined && nowMs >= madeAtMs + tookMs) {
        pace.took(nowMs, nowMs - madeAtMs, 'made');
        madeAtMs = undefined;
        made++;
      }
      const making = madeAtMs === undefined ? 0 : 1;
      if (pace.allows(nowMs, { starts: 'made', making })) {
        assert.equal(making, 0);
        madeAtMs = nowMs;
      }
    }
    const share = (made * tookMs) / endMs;
    assert.ok(share > 0.45 && share <= 0.5, `${share}`);
  });
});
