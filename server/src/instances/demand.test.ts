import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Demand, WINDOW_MS } from './demand.ts';

const SECOND = 1000;

describe('demand', () => {
  it('is nothing before anybody asked, and one after the first', () => {
    const demand = new Demand();
    assert.equal(demand.expected(0), 0);
    demand.note(0);
    assert.equal(demand.expected(0), 1);
  });

  it('is over when nobody asked for the length of the window', () => {
    const demand = new Demand();
    demand.note(7 * SECOND);
    assert.equal(demand.expected(7 * SECOND + WINDOW_MS - 1), 1);
    assert.equal(demand.expected(7 * SECOND + WINDOW_MS), 0);
    assert.ok(demand.isOver(7 * SECOND + WINDOW_MS));
    demand.note(2 * WINDOW_MS);
    assert.equal(demand.expected(2 * WINDOW_MS), 1);
  });

  it('of a steady rate is what comes in ten seconds', () => {
    const demand = new Demand();
    for (let ms = 0; ms < WINDOW_MS; ms += 2 * SECOND) demand.note(ms);
    assert.equal(demand.expected(WINDOW_MS - SECOND), 5);
  });

  it('of the same rate in bursts is more, and never more than a burst', () => {
    const demand = new Demand();
    for (let ms = 0; ms < WINDOW_MS; ms += 60 * SECOND) for (let each = 0; each < 30; each++) demand.note(ms);
    const expected = demand.expected(WINDOW_MS - SECOND);
    assert.ok(expected > 5 && expected <= 30, `${expected}`);
  });

  it('of one burst fades', () => {
    const demand = new Demand();
    for (let each = 0; each < 20; each++) demand.note(0);
    assert.equal(demand.expected(SECOND), 20);
    assert.equal(demand.expected(15 * SECOND), 20);
    const later = demand.expected(WINDOW_MS - SECOND);
    assert.ok(later < 10, `${later}`);
  });
});
