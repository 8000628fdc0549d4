import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SkerryError } from '../errors/skerry-error.ts';
import { CreateRate } from './create-rate.ts';

const refused = (code: string, words: RegExp) => (error: unknown) =>
  error instanceof SkerryError && error.code === code && words.test(error.message);

test('a token has its minute at once, then as it passes; others have theirs', () => {
  let nowMs = 1_000_000;
  const rate = new CreateRate(() => nowMs, 'this token');
  for (let count = 0; count < 6; count++) rate.take('one', 6);
  assert.throws(
    () => rate.take('one', 6),
    refused('rate-limited', /^6 sandboxes of this token may be made in a minute\. Try again in 10 s\.$/),
  );
  rate.take('other', 6, 6);
  nowMs += 10_000;
  rate.take('one', 6);
  assert.throws(() => rate.take('one', 6, 2), refused('rate-limited', /in 20 s/));
  nowMs += 60_000;
  rate.take('one', 6, 6);
  assert.throws(() => rate.take('one', 6, 7), refused('invalid-argument', /not 7 at once/));
});

test('each token has a rate of its own', () => {
  const rate = new CreateRate(() => 0, 'this environment');
  rate.take('slow', 1);
  assert.throws(() => rate.take('slow', 1), refused('rate-limited', /1 sandboxes of this environment may/));
  rate.take('fast', 2, 2);
});

test('without a bound nothing is counted', () => {
  const rate = new CreateRate(() => 0, 'this token');
  for (let count = 0; count < 1000; count++) rate.take('one', 0, 1000);
});
