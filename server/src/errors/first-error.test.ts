import assert from 'node:assert/strict';
import { test } from 'node:test';
import { firstError } from './first-error.ts';
import { SkerryError, toSkerryError } from './skerry-error.ts';

test('the first of several errors is what a caller is told', () => {
  const first = new SkerryError('image-build-failed', 'the command failed');
  const busy = new SkerryError('internal', 'Could not remove it.');
  const onTheWayOut = new SuppressedError(new AggregateError([busy], 'cleanup failed'), first);
  const twice = new SuppressedError(new Error('and the file neither'), onTheWayOut);
  assert.equal(firstError(twice), first);
  assert.equal(toSkerryError(twice), first);
  assert.equal(toSkerryError(new AggregateError([first, busy], 'both')), first);
  assert.equal(firstError('not an error'), 'not an error');
});

test('errors within themselves have an end', () => {
  const own = new AggregateError([], 'own');
  own.errors.push(own);
  assert.ok(firstError(own) instanceof AggregateError);
  assert.equal(toSkerryError(own).code, 'internal');
});
