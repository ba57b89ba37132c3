/** Blocks by address agree with asking each space by itself. */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { BlockIndex } from '../../src/compile/block-index.ts';
import { AddressSpace } from '../../src/net/address-space.ts';
import { parseCidr } from '../../src/net/cidr.ts';
import { formatAddress, isMapped } from '../../src/net/ip.ts';
import { address, edgesOf, family, manyCidrs } from '../net/arbitraries.ts';

const space = (cidr: string, ...except: string[]): AddressSpace => {
  const [whole, ...holes] = [cidr, ...except].map((text) => parseCidr(text)!);
  return AddressSpace.fromBlocks(whole!.family, [{ cidr: whole!, except: holes }]);
};

describe('BlockIndex', () => {
  it('finds every owner of an address, not those with an exception there, and none that was removed', () => {
    const index = new BlockIndex<string>();
    const holed = space('10.0.0.0/8', '10.1.0.0/16');
    index.add(space('0.0.0.0/0'), 'any');
    index.add(holed, 'holed');
    index.add(holed, 'same');
    index.add(space('10.1.2.3/32'), 'host');
    index.add(space('2001:db8::/32'), 'v6');
    const owners = (text: string): ReadonlySet<string> => new Set(index.ownersOf(text));
    assert.deepEqual(owners('10.2.0.1'), new Set(['any', 'holed', 'same']));
    assert.deepEqual(owners('10.1.2.3'), new Set(['any', 'host']));
    assert.deepEqual(owners('2001:db8::1'), new Set(['v6']));
    assert.deepEqual(owners('2001:db9::1'), new Set([]));
    index.remove(holed, 'holed');
    assert.deepEqual(owners('10.2.0.1'), new Set(['any', 'same']));
    index.remove(holed, 'same');
    assert.deepEqual(owners('10.2.0.1'), new Set(['any']));
  });

  it('agrees with each space, through any adding and removing', () =>
    fc.assert(
      fc.property(
        family.chain((of) => fc.tuple(fc.array(manyCidrs(of), { maxLength: 8 }), fc.array(address(of)), fc.nat())),
        ([lists, others, removed]) => {
          const spaces = lists.flatMap((cidrs) => (cidrs[0] ? [AddressSpace.fromCidrs(cidrs[0].family, cidrs)] : []));
          const index = new BlockIndex<number>();
          for (const [owner, each] of spaces.entries()) index.add(each, owner);
          for (const [owner, each] of spaces.entries()) if ((removed >> owner) & 1) index.remove(each, owner);
          for (const probe of [...others, ...lists.flat().flatMap(edgesOf)]) {
            // No pod has an IPv4-mapped address.
            if (isMapped(probe.words)) continue;
            const holding = spaces.flatMap((each, owner) =>
              each.contains(probe) && !((removed >> owner) & 1) ? [owner] : [],
            );
            const found = index.ownersOf(formatAddress(probe));
            assert.deepEqual(new Set(found), new Set(holding));
            assert.equal(found.length, holding.length);
          }
        },
      ),
    ));
});
