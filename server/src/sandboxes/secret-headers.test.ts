import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { describe, it } from 'node:test';
import { AesVault } from '../secrets/vault.ts';
import { fillHeaders, openHeaders, sealHeaders, withHeaders } from './secret-headers.ts';

const secret = { kind: 'inline', env: {} } as const;
const values = { KEY: 'a$b', _2: 'x', LINE: 'a\nb', LONG: 'x'.repeat(8193) };
const of = (headers: Record<string, string>, domain = 'A.test', given: typeof secret | null = secret) =>
  fillHeaders([{ domain, headers, ...(given && { secret: given }) }], () => values);

describe('secret headers', () => {
  it('are filled with the values of their secret, once', () => {
    assert.deepEqual(of({ Authorization: 'Bearer $KEY', x: '$$KEY $1 $ $_2$' }), [
      { domain: 'a.test', headers: { Authorization: 'Bearer a$b', x: '$KEY $1 $ x$' } },
    ]);
  });

  it('are refused by name, without their value', () => {
    const cases: readonly [() => unknown, RegExp][] = [
      [() => of({ x: 'y' }, 'no domain'), /^Invalid domain: no domain$/],
      [() => of({}), /headers for a\.test are missing/],
      [() => of({ 'x y': 'z' }), /^Invalid header name: /],
      [() => of({ Host: 'b.test' }), /Host cannot be replaced/],
      [() => of({ 'proxy-authorization': 'x' }), /cannot be replaced/],
      [() => of({ x: '$NONE' }), /no key NONE/],
      [() => of({ x: '$KEY' }, 'a.test', null), /has no secret/],
      [() => of({ x: '$LINE' }), /header x has control characters\.$/],
      [() => of({ x: '$LONG' }), /header x is longer than 8192 bytes\.$/],
      [() => of(Object.fromEntries(Array.from({ length: 26 }, (_, i) => [`x${i}`, 'y']))), /at most 25/],
    ];
    for (const [make, message] of cases) assert.throws(make, { code: 'invalid-argument', message });
  });

  it('are read by whoever has the vault, and by nobody else', () => {
    const [one, other] = [new AesVault(randomBytes(32)), new AesVault(randomBytes(32))];
    const rules = of({ x: '$KEY' });
    const sealed = sealHeaders(rules, one);
    assert.deepEqual(openHeaders(sealed, one), rules);
    assert.ok(!sealed.includes('a$b') && !Buffer.from(sealed, 'base64').includes('a$b'));
    assert.throws(() => openHeaders(sealed, other), { code: 'internal' });
  });

  it('go with every policy that leads out', () => {
    assert.deepEqual(withHeaders({ kind: 'open' }, 's'), { kind: 'open', headers: 's' });
    const named = { kind: 'allowlist', cidrs: [], domains: ['a.test'] } as const;
    assert.deepEqual(withHeaders(named, 's'), { ...named, headers: 's' });
    assert.deepEqual(withHeaders({ ...named, cidrs: ['192.0.2.0/24'] }, undefined).headers, undefined);
    const ranges = { ...named, cidrs: ['192.0.2.0/24'] };
    assert.deepEqual(withHeaders(ranges, 's'), { ...ranges, headers: 's' });
  });
});
