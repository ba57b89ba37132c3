import assert from 'node:assert/strict';
import { AddressSpace } from '../../src/net/address-space.ts';
import { parseCidr } from '../../src/net/cidr.ts';

describe('ranges of a set of addresses', () => {
  const ranges = (family: 4 | 6, ...cidrs: string[]) =>
    AddressSpace.fromCidrs(
      family,
      cidrs.map((text) => parseCidr(text)!),
    ).toRanges();

  it('are prefixes where one prefix is all of it', () => {
    assert.deepEqual(ranges(4, '10.0.0.0/8', '192.0.2.1/32'), ['10.0.0.0/8', '192.0.2.1']);
    assert.deepEqual(ranges(6, '2001:db8::/32', '::1/128'), ['::1', '2001:db8::/32']);
    assert.deepEqual(ranges(4, '0.0.0.0/0'), ['0.0.0.0/0']);
  });

  it('join what touches, up to the end of the family', () => {
    assert.deepEqual(ranges(4, '10.0.0.0/30', '10.0.0.4/31'), ['10.0.0.0-10.0.0.5']);
    assert.deepEqual(ranges(4, '255.255.255.255/32', '255.255.255.252/31', '255.255.255.254/32'), [
      '255.255.255.252/30',
    ]);
    assert.deepEqual(ranges(6, 'fffe::/16', 'ffff::/16', 'fffd::/16'), [
      'fffd::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff',
    ]);
    assert.deepEqual(ranges(4), []);
  });
});
