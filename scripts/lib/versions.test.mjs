import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isAtLeast, parseVersion } from './versions.mjs';

test('versions of tools and of Debian packages are told apart by number', () => {
  const atLeast = (text, wanted) => isAtLeast(parseVersion(text), parseVersion(wanted));
  assert.equal(atLeast('cargo 1.65.0', '1.70'), false);
  assert.equal(atLeast('cargo 1.96.0 (abc 2026-05-01)', '1.70'), true);
  assert.equal(atLeast('0.66.0+ds1-1', '1.70'), false, "Debian 12's own number for cargo 1.65");
  assert.equal(atLeast('1.96.0+dfsg1-1~deb12u2', '1.70'), true);
  assert.equal(atLeast('go version go1.26.3 linux/amd64', '1.26.3'), true);
  assert.equal(atLeast('go version go1.9 linux/amd64', '1.26.3'), false);
  assert.equal(atLeast('2:1.19~1', '1.26.3'), false);
  assert.equal(atLeast('does not work', '1.70'), false);
});
