import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { checkInbound, mayEnter } from './inbound.ts';

describe('who may come in', () => {
  it('is everybody without a list', () => {
    assert.ok(mayEnter(undefined, '203.0.113.9'));
    assert.ok(mayEnter([], '2001:db8::1'));
  });

  it('is who has an address of the list, in either family', () => {
    const list = ['203.0.113.0/24', '2001:db8::/32'];
    const may = (address: string) => mayEnter(list, address);
    assert.deepEqual(['203.0.113.9', '::ffff:203.0.113.9', '2001:db8:1::5'].map(may), [true, true, true]);
    assert.deepEqual(['203.0.114.1', '2001:db9::1', '', 'unix', '::ffff:203.0.114.1'].map(may), [
      ...Array(5).fill(false),
    ]);
  });

  it('is not what is no network', () => {
    for (const bad of ['', '203.0.113.9', '203.0.113.0/33', '::/129', '1.2.3/8', '300.1.1.1/8', ':/0']) {
      assert.throws(() => checkInbound([bad]), { code: 'invalid-argument', message: `Invalid CIDR: ${bad}` });
    }
    assert.throws(() => checkInbound(Array(1001).fill('10.0.0.0/8')), { code: 'invalid-argument' });
  });
});
