import assert from 'node:assert/strict';
import { test } from 'node:test';
import { chart } from './chart.ts';
import { summarize } from './statistics.ts';

test('a chart has a dot at each median, further right the longer it took, and whatever is a name as text alone', () => {
  const rows = new Map([
    ['fast <b>', summarize([1, 2, 3])],
    ['slow', summarize([100, 200, 300])],
  ]);
  const svg = chart(new Map([['Exec & more', rows]]));
  const at = [...svg.matchAll(/<circle cx="([\d.]+)"/g)].map(([, x]) => Number(x));
  assert.equal(at.length, 2);
  assert.ok((at[0] ?? 0) < (at[1] ?? 0));
  assert.match(svg, /<title>Exec &amp; more<\/title>/);
  assert.match(svg, />fast &lt;b&gt;</);
  assert.throws(() => chart(new Map()), RangeError);
});
