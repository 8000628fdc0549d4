import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { ExpiringSignature } from './expiring-signature.ts';

const refused = { code: 'permission-denied' };
const DAY_MS = 24 * 60 * 60 * 1000;

function setUp() {
  const clock = { ms: 1_700_000_000_000 };
  return { clock, signatures: new ExpiringSignature(Buffer.alloc(32, 1), () => clock.ms) };
}

test('a signature holds for its text, for a day', () => {
  const { clock, signatures } = setUp();
  const signature = signatures.sign('what may be done');
  assert.match(signature, /^[\w.-]+$/);
  clock.ms += DAY_MS - 1000;
  signatures.verify('what may be done', signature);
  assert.throws(() => signatures.verify('what may be don', signature), refused);
  clock.ms += 2000;
  assert.throws(() => signatures.verify('what may be done', signature), refused);
});

test('a later end, another key and made-up text are refused', () => {
  const { signatures } = setUp();
  const signature = signatures.sign('a');
  const [, digest] = signature.split('.');
  const other = new ExpiringSignature(Buffer.alloc(32, 2), () => 0).sign('a');
  for (const bad of [`99999999999.${digest}`, `NaN.${digest}`, `.${digest}`, `${digest}`, other]) {
    assert.throws(() => signatures.verify('a', bad), refused, bad);
  }
  fc.assert(
    fc.property(fc.string(), (made) => {
      if (made !== signature) assert.throws(() => signatures.verify('a', made), refused);
    }),
  );
});
