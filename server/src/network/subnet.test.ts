import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type Cidr, overlaps, parseCidr } from './cidr.ts';
import { AddressPlan, chooseSubnet, claimSubnet, holdSubnet, usedNetworks } from './subnet.ts';

describe('chooseSubnet', () => {
  it('takes the configured one, at least a /24', () => {
    assert.equal(new AddressPlan(chooseSubnet('10.9.0.0/24', [], 'ab')).cidr, '10.9.0.0/24');
    assert.throws(() => chooseSubnet('10.9.0.0/25', [], 'ab'), { code: 'invalid-argument' });
    assert.throws(() => chooseSubnet('nonsense', [], 'ab'), { code: 'invalid-argument' });
  });

  it('avoids every network in use and gives up only when none is left', () => {
    const taken: Cidr[] = [];
    for (let round = 0; round < 80; round++) {
      const free = chooseSubnet('auto', taken, 'deadbeef');
      assert.ok(!taken.some((network) => overlaps(network, free)));
      taken.push(free);
    }
    assert.throws(() => chooseSubnet('auto', taken, 'deadbeef'), { code: 'resource-exhausted' });
  });

  it('reads this machine: the loopback network and no default route', async () => {
    const used = await usedNetworks();
    assert.ok(used.some((network) => overlaps(network, parseCidr('127.0.0.1'))));
    assert.ok(used.every((network) => network.prefix > 0));
  });
});

describe('claimSubnet', () => {
  it('gives servers that start at once one each, though they begin to look at the same', async () => {
    const claimed = await Promise.all([0, 1, 2].map(() => claimSubnet('auto', 'deadbeef')));
    try {
      assert.equal(new Set(claimed.map(({ subnet }) => subnet.base)).size, 3);
      for (const { subnet } of claimed) assert.equal(await holdSubnet(subnet), undefined);
    } finally {
      for (const { claim } of claimed) claim?.[Symbol.dispose]();
    }
  });
});

describe('AddressPlan', () => {
  it('gives the resolver and every slot addresses of their own within the subnet', () => {
    const plan = new AddressPlan(parseCidr('10.9.1.0/24'));
    const all = [plan.resolver];
    for (let slot = 1; slot <= plan.egressSlot; slot++)
      all.push(plan.hostAddress(slot), plan.slotAddress(slot));
    assert.equal(new Set(all).size, 255);
    assert.equal(plan.egressSlot, plan.slots + 1);
    assert.ok(all.every((address) => overlaps(parseCidr(address), plan.subnet)));
    assert.deepEqual([plan.hostAddress(1), plan.slotAddress(1)], ['10.9.1.2', '10.9.1.3']);
  });
});
