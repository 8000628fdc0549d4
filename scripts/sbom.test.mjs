import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bill, isAllowed } from './sbom.mjs';

test('the bill of materials names every npm package and crate with version and licence', async () => {
  const { bomFormat, components } = await bill();
  assert.equal(bomFormat, 'CycloneDX');
  const named = (name) => components.find((component) => component.name === name);
  assert.match(named('fastify').purl, /^pkg:npm\/fastify@\d/);
  assert.match(named('libc').purl, /^pkg:cargo\/libc@0\.2/);
  assert.match(named('libc').hashes[0].content, /^[0-9a-f]{64}$/);
});

test('of an expression one choice must be allowed as a whole', () => {
  for (const allowed of [
    'MIT OR GPL-3.0',
    '(MIT OR GPL-3.0) AND Unicode-3.0',
    'Apache-2.0 WITH LLVM-exception',
  ])
    assert.ok(isAllowed(allowed), allowed);
  for (const open of ['MIT AND GPL-3.0', '(MIT OR Apache-2.0) AND GPL-3.0', 'NONE', 'MIT GPL-3.0'])
    assert.ok(!isAllowed(open), open);
});
