import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { formatAddress, formatCidr, overlaps, parseCidr, sizeOf, withoutOverlaps } from './cidr.ts';

describe('parseCidr', () => {
  it('reads networks and bare addresses, clearing host bits', () => {
    assert.deepEqual(parseCidr('10.1.2.3/8'), { base: 0x0a000000, prefix: 8 });
    assert.deepEqual(parseCidr('255.255.255.255'), { base: 0xffffffff, prefix: 32 });
    assert.equal(formatCidr(parseCidr('203.0.113.77/26')), '203.0.113.64/26');
    assert.equal(formatCidr(parseCidr('8.8.8.8/0')), '0.0.0.0/0');
  });

  it('refuses everything else', () => {
    for (const text of [
      '',
      'a',
      '1.2.3',
      '1.2.3.4/33',
      '1.2.3.4/',
      '1.2.3.4/-1',
      '1.2.3.256',
      '01.2.3.4',
      '::1',
      '1.2.3.4/8 ',
      '1.2.3.4/8}; x',
    ]) {
      assert.throws(() => parseCidr(text), { code: 'invalid-argument' }, text);
    }
  });
});

describe('network arithmetic', () => {
  it('knows sizes and overlaps at the edges of the address space', () => {
    assert.equal(sizeOf(parseCidr('0.0.0.0/0')), 2 ** 32);
    assert.equal(overlaps(parseCidr('10.0.0.0/8'), parseCidr('10.255.255.255')), true);
    assert.equal(overlaps(parseCidr('10.0.0.0/8'), parseCidr('11.0.0.0/8')), false);
    assert.equal(overlaps(parseCidr('128.0.0.0/1'), parseCidr('255.255.255.255')), true);
    assert.equal(formatAddress(0xfffffffe), '255.255.255.254');
  });

  it('drops networks that lie within others', () => {
    const kept = withoutOverlaps(['10.1.0.0/16', '10.0.0.0/8', '1.1.1.1', '1.1.1.1/32'].map(parseCidr));
    assert.deepEqual(kept.map(formatCidr), ['10.0.0.0/8', '1.1.1.1/32']);
  });
});
