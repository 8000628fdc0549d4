import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { allot } from './allotment.ts';

const claim = (of: string, count: number, weight = 1) => ({ of, count, weight });
const given = (...args: Parameters<typeof allot<string>>) => Object.fromEntries(allot(...args));

describe('what is divided', () => {
  it('is what everybody wants, where there is enough', () => {
    const claims = [claim('a', 2), claim('b', 3), claim('c', 0)];
    assert.deepEqual(given(claims, { count: 9, weight: 9 }), { a: 2, b: 3 });
  });

  it('is one for each before anybody has two, and in proportion then', () => {
    assert.deepEqual(given([claim('a', 9), claim('b', 1), claim('c', 9)], { count: 3, weight: 99 }), {
      ...{ a: 1, b: 1, c: 1 },
    });
    assert.deepEqual(given([claim('a', 12), claim('b', 4)], { count: 8, weight: 99 }), { a: 6, b: 2 });
  });

  it('is never heavier than there is room for, and light ones go on when heavy ones have none', () => {
    const claims = [claim('heavy', 9, 10), claim('light', 9, 2)];
    const { heavy = 0, light = 0 } = given(claims, { count: 99, weight: 25 });
    assert.ok(heavy * 10 + light * 2 <= 25 && heavy >= 1 && light >= 2);
    assert.deepEqual(given(claims, { count: 99, weight: 5 }), { light: 2 });
    assert.deepEqual(given(claims, { count: 99, weight: 0 }), {});
  });
});
