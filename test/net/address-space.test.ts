import assert from 'node:assert/strict';
import fc from 'fast-check';
import { type AddressBlock, AddressSpace } from '../../src/net/address-space.ts';
import { type Cidr, cidrCovers, formatCidr, makeCidr, parseCidr } from '../../src/net/cidr.ts';
import { compareCidrs } from '../support/cidrs.ts';
import type { Family } from '../../src/core/vocabulary.ts';
import { ADDRESS_BITS, ADDRESS_WORDS, type Address, formatAddress, parseAddress } from '../../src/net/ip.ts';
import { address, blocksHold, cidr, edgesOf, family, manyCidrs } from './arbitraries.ts';

const FAMILIES: readonly Family[] = [4, 6];

/** A block as text: `cidr -except -except`. */
function block(text: string): AddressBlock {
  const [whole, ...excepts] = text.split(' -').map((each) => parseCidr(each)!);
  return { cidr: whole!, except: excepts };
}

function space(of: Family, ...blocks: readonly string[]): AddressSpace {
  return AddressSpace.fromBlocks(of, blocks.map(block));
}

/** The fewest ranges, as text: `first-last`. */
function rangesOf(of: AddressSpace): string[] {
  const text = (number: bigint): string => formatAddress({ family: of.family, words: wordsOf(of.family, number) });
  return mergeNaively(of.toCidrs()).map(([first, end]) => `${text(first)}-${text(end - 1n)}`);
}

function wordsOf(of: Family, number: bigint): number[] {
  const count = ADDRESS_WORDS[of];
  return Array.from({ length: count }, (_, i) => Number((number >> BigInt(32 * (count - 1 - i))) & 0xffffffffn));
}

/** Blocks whose excepts mostly lie inside, sometimes around or beside. */
const arbitraryBlock = (of: Family): fc.Arbitrary<AddressBlock> =>
  fc.tuple(cidr(of), fc.array(fc.tuple(cidr(of), fc.boolean()), { maxLength: 6 })).map(([whole, candidates]) => ({
    cidr: whole,
    except: candidates.map(([each, inside]) => (inside ? moveInto(whole, each) : each)),
  }));

/** `inner` with its first bits replaced by those of `outer`. */
function moveInto(outer: Cidr, inner: Cidr): Cidr {
  const host = inner.words.map((word, i) => {
    const kept = makeCidr(4, [word], Math.min(32, Math.max(0, outer.prefixLength - 32 * i))).words[0]!;
    return outer.words[i]! + (word - kept);
  });
  return makeCidr(outer.family, host, Math.max(inner.prefixLength, outer.prefixLength));
}

const arbitraryBlocks = (of: Family): fc.Arbitrary<AddressBlock[]> => fc.array(arbitraryBlock(of), { maxLength: 6 });

function probesOf(blocks: readonly AddressBlock[]): Address[] {
  return blocks.flatMap((each) => [each.cidr, ...each.except]).flatMap(edgesOf);
}

/** From `first` on, before `end`. */
type Interval = readonly [first: bigint, end: bigint];

function intervalOf({ family: of, words, prefixLength }: Cidr): Interval {
  const first = words.reduce((number, word) => (number << 32n) | BigInt(word), 0n);
  return [first, first + (1n << BigInt(ADDRESS_BITS[of] - prefixLength))];
}

function least(a: bigint, b: bigint): bigint {
  if (a < b) return a;
  return b;
}

function greatest(a: bigint, b: bigint): bigint {
  if (a > b) return a;
  return b;
}

/** The fewest intervals, by taking in one after the other and whatever it overlaps or touches. */
function mergeNaively(cidrs: readonly Cidr[]): Interval[] {
  let merged: Interval[] = [];
  for (const added of cidrs.map(intervalOf)) {
    const met = merged.filter(([first, end]) => first <= added[1] && added[0] <= end);
    const all = [...met, added];
    const whole = all.reduce(([first, end], each) => [least(first, each[0]), greatest(end, each[1])]);
    merged = [...merged.filter((each) => !met.includes(each)), whole];
  }
  return merged.sort(([a], [b]) => (a < b ? -1 : 1));
}

/** The fewest prefixes, by halving the family until a half is in one interval or meets none. */
function splitNaively(of: Family, intervals: readonly Interval[], prefixLength = 0, first = 0n): Cidr[] {
  const size = 1n << BigInt(ADDRESS_BITS[of] - prefixLength);
  const met = intervals.filter((each) => each[0] < first + size && first < each[1]);
  if (met.length === 0) return [];
  if (met[0]![0] <= first && first + size <= met[0]![1]) {
    return [{ family: of, words: wordsOf(of, first), prefixLength }];
  }
  return [first, first + size / 2n].flatMap((half) => splitNaively(of, met, prefixLength + 1, half));
}

const manyOfAFamily = family.chain((of) => fc.tuple(fc.constant(of), manyCidrs(of)));

describe('AddressSpace.fromCidrs', () => {
  it('holds the same for many prefixes: repeated, nested, touching, across words', () =>
    fc.assert(
      fc.property(manyOfAFamily, ([of, cidrs]) => {
        assert.deepEqual(mergeNaively(AddressSpace.fromCidrs(of, cidrs).toCidrs()), mergeNaively(cidrs));
      }),
      { numRuns: 500 },
    ));

  it('gives the same whatever the order, and leaves out the other family', () =>
    fc.assert(
      fc.property(manyOfAFamily, fc.nat(), ([of, cidrs], at) => {
        const other = parseCidr(of === 4 ? '::/0' : '0.0.0.0/0')!;
        const cut = at % (cidrs.length + 1);
        const turned = [...cidrs.slice(cut), other, ...cidrs.slice(0, cut)];
        assert.ok(AddressSpace.fromCidrs(of, turned).equals(AddressSpace.fromCidrs(of, cidrs)));
        const [left, right] = [cidrs.slice(0, cut), cidrs.slice(cut)].map((part) => AddressSpace.fromCidrs(of, part));
        assert.ok(left!.union(right!).equals(AddressSpace.fromCidrs(of, cidrs)));
      }),
    ));

  it('does not change what it is given', () => {
    const cidrs = ['203.0.113.128/25', '203.0.113.0/25'].map((text) => Object.freeze(parseCidr(text)!));
    for (const each of cidrs) Object.freeze(each.words);
    AddressSpace.fromCidrs(4, Object.freeze(cidrs));
    assert.deepEqual(cidrs.map(formatCidr), ['203.0.113.128/25', '203.0.113.0/25']);
  });
});

describe('AddressSpace.toCidrs', () => {
  it('lists what halving the family over and over finds', () =>
    fc.assert(
      fc.property(manyOfAFamily, ([of, cidrs]) => {
        assert.deepEqual(AddressSpace.fromCidrs(of, cidrs).toCidrs(), splitNaively(of, mergeNaively(cidrs)));
      }),
      { numRuns: 500 },
    ));

  it('lists what two sets leave of each other', () =>
    fc.assert(
      fc.property(
        family.chain((of) => fc.tuple(fc.constant(of), manyCidrs(of), manyCidrs(of))),
        ([of, left, right]) => {
          const rest = AddressSpace.fromCidrs(of, left).difference(AddressSpace.fromCidrs(of, right));
          let expected = mergeNaively(left);
          for (const [first, end] of mergeNaively(right)) {
            expected = expected
              .flatMap(([from, to]): Interval[] => [
                [from, least(to, first)],
                [greatest(from, end), to],
              ])
              .filter(([from, to]) => from < to);
          }
          assert.deepEqual(rest.toCidrs(), splitNaively(of, expected));
        },
      ),
    ));
});

describe('AddressSpace.fromBlocks', () => {
  const cases: readonly (readonly [name: string, of: Family, blocks: readonly string[], ranges: readonly string[]])[] =
    [
      ['no block', 4, [], []],
      ['one block', 4, ['203.0.113.0/24'], ['203.0.113.0-203.0.113.255']],
      [
        'an except at either end',
        4,
        ['203.0.113.0/24 -203.0.113.0/32 -203.0.113.255/32'],
        ['203.0.113.1-203.0.113.254'],
      ],
      [
        'neighbouring excepts',
        4,
        ['203.0.113.0/24 -203.0.113.64/26 -203.0.113.128/26'],
        ['203.0.113.0-203.0.113.63', '203.0.113.192-203.0.113.255'],
      ],
      [
        'nested and repeated excepts',
        4,
        ['203.0.113.0/24 -203.0.113.0/26 -203.0.113.0/25 -203.0.113.0/26 -203.0.113.127/32'],
        ['203.0.113.128-203.0.113.255'],
      ],
      ['an except of the whole block', 4, ['203.0.113.0/24 -203.0.113.0/24'], []],
      ['an except wider than the block', 4, ['203.0.113.0/24 -203.0.0.0/16'], []],
      ['excepts of both halves', 4, ['203.0.113.0/24 -203.0.113.0/25 -203.0.113.128/25'], []],
      ['an except beside the block', 4, ['203.0.113.0/25 -203.0.113.128/25'], ['203.0.113.0-203.0.113.127']],
      ['an except of the other family', 4, ['203.0.113.0/24 -2001:db8::/32'], ['203.0.113.0-203.0.113.255']],
      ['a block of the other family', 6, ['203.0.113.0/24', '2001:db8::/127'], ['2001:db8::-2001:db8::1']],
      [
        "one block over another's except",
        4,
        ['203.0.113.0/24 -203.0.113.128/25', '203.0.113.192/26'],
        ['203.0.113.0-203.0.113.127', '203.0.113.192-203.0.113.255'],
      ],
      [
        'the same except twice over',
        4,
        ['203.0.113.0/24 -203.0.113.128/25', '203.0.113.0/24 -203.0.113.128/26'],
        ['203.0.113.0-203.0.113.127', '203.0.113.192-203.0.113.255'],
      ],
      ['all of IPv4 but the ends', 4, ['0.0.0.0/0 -0.0.0.0/32 -255.255.255.255/32'], ['0.0.0.1-255.255.255.254']],
      [
        'all of IPv6 but the ends',
        6,
        ['::/0 -::/128 -ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128'],
        ['::1-ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe'],
      ],
      [
        'a carry through every word',
        6,
        ['2001:db8::/32 -2001:db8:0:0:ffff:ffff:ffff:ffff/128'],
        ['2001:db8::-2001:db8::ffff:ffff:ffff:fffe', '2001:db8:0:1::-2001:db8:ffff:ffff:ffff:ffff:ffff:ffff'],
      ],
    ];
  for (const [name, of, blocks, ranges] of cases) {
    it(`holds ${name}`, () => assert.deepEqual(rangesOf(space(of, ...blocks)), ranges));
  }

  it('holds what the blocks hold one by one (S-28)', () =>
    fc.assert(
      fc.property(
        family.chain((of) => fc.tuple(fc.constant(of), arbitraryBlocks(of), fc.array(address(of)))),
        ([of, blocks, others]) => {
          const all = AddressSpace.fromBlocks(of, blocks);
          for (const probe of [...others, ...probesOf(blocks)]) {
            assert.equal(all.contains(probe), blocksHold(blocks, probe), formatAddress(probe));
          }
        },
      ),
      { numRuns: 500 },
    ));
});

describe('AddressSpace', () => {
  it('knows nothing and everything', () => {
    assert.deepEqual([space(4).isEmpty(), space(4).isFull()], [true, false]);
    for (const each of FAMILIES) {
      assert.deepEqual([AddressSpace.full(each).isEmpty(), AddressSpace.full(each).isFull()], [false, true]);
      assert.ok(AddressSpace.empty(each).complement().isFull());
      assert.ok(AddressSpace.full(each).complement().isEmpty());
    }
    assert.ok(space(4, '0.0.0.0/1', '128.0.0.0/1').isFull());
    assert.equal(space(4, '0.0.0.0/0 -255.255.255.255/32').isFull(), false);
    assert.equal(space(4, '128.0.0.0/1').isFull(), false);
    assert.equal(space(6, '::/0 -::/128').isFull(), false);
  });

  it('holds nothing of the other family', () => {
    assert.equal(AddressSpace.full(6).contains(parseAddress('203.0.113.7')!), false);
    assert.equal(AddressSpace.full(4).contains(parseAddress('2001:db8::7')!), false);
    assert.throws(() => AddressSpace.full(4).union(AddressSpace.full(6)), /IPv4.*IPv6/);
  });

  it('joins, meets, subtracts and turns around as sets do', () =>
    fc.assert(
      fc.property(
        family.chain((of) => fc.tuple(fc.constant(of), arbitraryBlocks(of), arbitraryBlocks(of))),
        ([of, left, right]) => {
          const a = AddressSpace.fromBlocks(of, left);
          const b = AddressSpace.fromBlocks(of, right);
          for (const probe of [...probesOf(left), ...probesOf(right)]) {
            const [inA, inB] = [a.contains(probe), b.contains(probe)];
            assert.equal(a.union(b).contains(probe), inA || inB);
            assert.equal(a.intersection(b).contains(probe), inA && inB);
            assert.equal(a.difference(b).contains(probe), inA && !inB);
            assert.equal(a.complement().contains(probe), !inA);
          }
          // One set has one form.
          assert.ok(a.difference(b).union(a.intersection(b)).equals(a));
          assert.ok(a.complement().union(b.complement()).complement().equals(a.intersection(b)));
          assert.equal(a.equals(b), a.difference(b).isEmpty() && b.difference(a).isEmpty());
        },
      ),
      { numRuns: 300 },
    ));

  it('lists the fewest disjoint prefixes, which hold the same', () =>
    fc.assert(
      fc.property(
        family.chain((of) => fc.tuple(fc.constant(of), arbitraryBlocks(of))),
        ([of, blocks]) => {
          const all = AddressSpace.fromBlocks(of, blocks);
          const cidrs = all.toCidrs();
          assert.ok(AddressSpace.fromCidrs(of, cidrs).equals(all));
          assert.deepEqual(cidrs.toSorted(compareCidrs), cidrs);
          assert.ok(cidrs.every((each, i) => i === 0 || !cidrCovers(cidrs[i - 1]!, each)));
          // Fewest: no prefix could be one bit shorter, as the shorter one would reach outside of the set.
          for (const each of cidrs.filter(({ prefixLength }) => prefixLength > 0)) {
            const wider = AddressSpace.fromCidrs(of, [makeCidr(of, each.words, each.prefixLength - 1)]);
            assert.equal(wider.difference(all).isEmpty(), false, formatCidr(each));
          }
        },
      ),
      { numRuns: 300 },
    ));

  it('takes thousands of excepts', () => {
    const excepts = Array.from({ length: 20_000 }, (_, i) => makeCidr(6, [0x20010db8, 0, 0, i * 4], 127));
    const all = AddressSpace.fromBlocks(6, [{ cidr: parseCidr('2001:db8::/32')!, except: excepts }]);
    const [whole, ...rest] = all.toPrefixTable();
    assert.deepEqual(whole, { cidr: parseCidr('2001:db8::/32')!, match: true });
    assert.deepEqual(
      rest,
      excepts.map((except) => ({ cidr: except, match: false })),
    );
    assert.equal(all.complement().intersection(space(6, '2001:db8::/32')).toCidrs().length, 20_000);
  });
});
