import assert from 'node:assert/strict';
import { test } from 'node:test';
import { canonicalImageName } from './image-name.ts';

const resolve = (name: string) => ({ name: name || 'main', isDefault: name === '' || name === 'main' });

test('all ways to write a name lead to one form', () => {
  const canonical = (text: string, fallback = '') => canonicalImageName(text, fallback, resolve);
  assert.equal(canonical('img'), 'img:latest');
  assert.equal(canonical('main/img:latest'), 'img:latest');
  assert.equal(canonical('img:v1', 'dev'), 'dev/img:v1');
  assert.equal(canonical('dev/img:v1'), 'dev/img:v1');
  assert.equal(canonical('skerry/dev/img:v1', 'main'), 'dev/img:v1');
  for (const bad of ['', ':v1', 'a:b:c', 'im-123', 'a b', 'a/b/c/d', 'a:', 'img:é']) {
    assert.throws(() => canonical(bad), { code: 'invalid-argument' }, bad);
  }
});
