import assert from 'node:assert/strict';
import fc from 'fast-check';
import { AddressSpace } from '../../src/net/address-space.ts';
import { type Cidr, formatCidr, halvesOf, parseCidr, wholeFamily } from '../../src/net/cidr.ts';
import { cidrOfAddress, compareCidrs } from '../support/cidrs.ts';
import { CidrTrie } from '../../src/net/cidr-trie.ts';
import type { Family } from '../../src/core/vocabulary.ts';
import { formatAddress } from '../../src/net/ip.ts';
import type { PrefixEntry } from '../../src/net/prefix-table.ts';
import { cidr, edgesOf, family, manyCidrs } from './arbitraries.ts';

/** What a table says, as a set: the narrower prefixes overrule the wider. */
function meaningOf(of: Family, table: readonly PrefixEntry[]): AddressSpace {
  let space = AddressSpace.empty(of);
  for (const entry of table.toSorted((a, b) => a.cidr.prefixLength - b.cidr.prefixLength)) {
    const part = AddressSpace.fromCidrs(of, [entry.cidr]);
    space = entry.match ? space.union(part) : space.difference(part);
  }
  return space;
}

function show(table: readonly PrefixEntry[]): string[] {
  return table.map((entry) => `${formatCidr(entry.cidr)}${entry.match ? '' : ' nomatch'}`);
}

/** The prefixes `bits` bits below `base`, ascending. */
function cellsOf(base: Cidr, bits: number): readonly Cidr[] {
  if (bits === 0) return [base];
  return halvesOf(base)!.flatMap((half) => cellsOf(half, bits - 1));
}

/** The set of those cells whose bit is set in `mask`. */
function spaceOf(cells: readonly Cidr[], mask: number): AddressSpace {
  return AddressSpace.fromCidrs(
    cells[0]!.family,
    cells.filter((_, i) => mask & (1 << i)),
  );
}

/** By mask over eight cells: the size of the smallest of all 3^14 tables of prefixes of 1 to 3 bits that mean it. */
function smallestOfAllTables(): number[] {
  const smallest = new Array<number>(256).fill(Number.POSITIVE_INFINITY);
  // Nodes 2..15 of a heap, each without entry (0), nomatch (1) or match (2).
  const table = new Array<number>(16).fill(0);
  const fill = (node: number, size: number): void => {
    if (node === 16) {
      let mask = 0;
      for (let cell = 8; cell < 16; cell++) {
        if ((table[cell] || table[cell >> 1] || table[cell >> 2]) === 2) mask |= 1 << (cell - 8);
      }
      smallest[mask] = Math.min(smallest[mask]!, size);
      return;
    }
    for (let entry = 0; entry < 3; entry++) {
      table[node] = entry;
      fill(node + 1, size + Math.min(entry, 1));
    }
  };
  fill(2, 0);
  return smallest;
}

/** Fewest entries below a node of `cells` cells of `mask` when an entry above says `inForce`; the node itself takes one if `isFree`. */
function fewestEntries(mask: number, cells: number, inForce: boolean, isFree: boolean): number {
  const below = (action: boolean): number => {
    if (cells === 1) return (mask === 1) === action ? 0 : Number.POSITIVE_INFINITY;
    const half = cells / 2;
    const lower = mask & ((1 << half) - 1);
    return fewestEntries(lower, half, action, true) + fewestEntries(mask >>> half, half, action, true);
  };
  return isFree ? Math.min(below(inForce), 1 + below(!inForce)) : below(inForce);
}

/** Fewest entries at and under a prefix, with nomatch and with match in force above it; uniform prefixes end the search. */
function fewestUnder(part: AddressSpace, base: Cidr): readonly [number, number] {
  const isRoot = base.prefixLength === 0;
  if (!isRoot && part.isEmpty()) return [0, 1];
  if (!isRoot && part.equals(AddressSpace.fromCidrs(base.family, [base]))) return [1, 0];
  const [lower, upper] = halvesOf(base)!.map((half) =>
    fewestUnder(part.intersection(AddressSpace.fromCidrs(base.family, [half])), half),
  ) as [readonly [number, number], readonly [number, number]];
  const without: readonly [number, number] = [lower[0] + upper[0], lower[1] + upper[1]];
  // The root takes no entry (ipset refuses /0); its second number is never asked for.
  if (isRoot) return without;
  return [Math.min(without[0], 1 + without[1]), Math.min(without[1], 1 + without[0])];
}

describe('toPrefixTable', () => {
  const cases: readonly (readonly [
    name: string,
    of: Family,
    cidr: string,
    excepts: readonly string[],
    table: readonly string[],
  ])[] = [
    ['a prefix', 4, '203.0.113.0/24', [], ['203.0.113.0/24']],
    ['an except', 4, '203.0.113.0/24', ['203.0.113.64/26'], ['203.0.113.0/24', '203.0.113.64/26 nomatch']],
    ['an except that leaves half', 4, '203.0.113.0/24', ['203.0.113.0/25'], ['203.0.113.128/25']],
    [
      'excepts that leave less than they take',
      4,
      '203.0.113.0/24',
      ['203.0.113.0/25', '203.0.113.128/26'],
      ['203.0.113.192/26'],
    ],
    ['all of IPv4, as halves', 4, '0.0.0.0/0', [], ['0.0.0.0/1', '128.0.0.0/1']],
    ['all of IPv6, as halves', 6, '::/0', [], ['::/1', '8000::/1']],
    [
      'all of IPv4 with an except',
      4,
      '0.0.0.0/0',
      ['203.0.113.0/24'],
      ['0.0.0.0/1', '128.0.0.0/1', '203.0.113.0/24 nomatch'],
    ],
    ['an except of half of IPv6', 6, '::/0', ['::/1'], ['8000::/1']],
    ['a single address', 6, '2001:db8::7/128', [], ['2001:db8::7/128']],
  ];
  for (const [name, of, whole, excepts, table] of cases) {
    it(`writes ${name}`, () => {
      const blocks = [{ cidr: parseCidr(whole)!, except: excepts.map((text) => parseCidr(text)!) }];
      assert.deepEqual(show(AddressSpace.fromBlocks(of, blocks).toPrefixTable()), table);
    });
  }

  it('writes nothing for nothing', () => assert.deepEqual(AddressSpace.empty(4).toPrefixTable(), []));

  it('is the smallest of all tables over eight cells', () => {
    const smallest = smallestOfAllTables();
    const cells = cellsOf(wholeFamily(4), 3);
    for (let mask = 0; mask < 256; mask++) {
      const table = spaceOf(cells, mask).toPrefixTable();
      assert.equal(table.length, smallest[mask], `${mask}: ${show(table).join(', ')}`);
    }
  });

  for (const [base, isFree] of [
    ['0.0.0.0/0', false],
    ['203.0.113.240/28', true],
    ['::/0', false],
    ['2001:db8::/30', true],
    ['2001:db8::/126', true],
  ] as const) {
    // Every set of 16 cells is slow at each place; a step that shares no factor with 65536 picks some of all kinds.
    const step = base === '0.0.0.0/0' ? 1 : 37;
    it(`is exact and smallest over 16 cells of ${base}`, () => {
      const bits = base === '2001:db8::/126' ? 2 : 4;
      const cells = cellsOf(parseCidr(base)!, bits);
      for (let mask = 0; mask < 2 ** cells.length; mask += bits === 2 ? 1 : step) {
        const space = spaceOf(cells, mask);
        const table = space.toPrefixTable();
        assert.equal(
          table.length,
          fewestEntries(mask, cells.length, false, isFree),
          `${mask}: ${show(table).join(', ')}`,
        );
        assert.ok(meaningOf(space.family, table).equals(space), `${mask}: ${show(table).join(', ')}`);
      }
    }).timeout(60_000);
  }

  it('is exact, smallest and in order for any blocks', () =>
    fc.assert(
      fc.property(
        family.chain((of) =>
          fc.tuple(
            fc.constant(of),
            fc.array(fc.record({ cidr: cidr(of), except: fc.array(cidr(of)) }), { maxLength: 6 }),
          ),
        ),
        ([of, blocks]) => {
          const space = AddressSpace.fromBlocks(of, blocks);
          const table = space.toPrefixTable();
          assert.ok(meaningOf(of, table).equals(space), show(table).join(', '));
          assert.equal(table.length, fewestUnder(space, wholeFamily(of))[0], show(table).join(', '));
          assert.ok(table.every((entry, i) => i === 0 || compareCidrs(table[i - 1]!.cidr, entry.cidr) < 0));
          assert.ok(table.every((entry) => entry.cidr.prefixLength > 0));
        },
      ),
      { numRuns: 300 },
    ));

  it('is exact and smallest for what many prefixes leave of others', () =>
    fc.assert(
      fc.property(
        family.chain((of) => fc.tuple(fc.constant(of), manyCidrs(of), manyCidrs(of))),
        ([of, left, right]) => {
          const space = AddressSpace.fromCidrs(of, left.slice(0, 12)).difference(
            AddressSpace.fromCidrs(of, right.slice(0, 12)),
          );
          const table = space.toPrefixTable();
          assert.ok(meaningOf(of, table).equals(space), show(table).join(', '));
          assert.equal(table.length, fewestUnder(space, wholeFamily(of))[0], show(table).join(', '));
          assert.ok(table.every((entry, i) => i === 0 || compareCidrs(table[i - 1]!.cidr, entry.cidr) < 0));
        },
      ),
    ));

  it('puts no more above a lonely set, which is best matched as a whole, beside a full prefix', () =>
    assert.deepEqual(
      show(
        AddressSpace.fromBlocks(
          4,
          [['203.0.0.0/24', '203.0.0.0/27', '203.0.0.224/27'], ['203.0.4.0/22']].map(([whole, ...except]) => ({
            cidr: parseCidr(whole!)!,
            except: except.map((text) => parseCidr(text)!),
          })),
        ).toPrefixTable(),
      ),
      ['203.0.0.0/24', '203.0.0.0/27 nomatch', '203.0.0.224/27 nomatch', '203.0.4.0/22'],
    ));

  it('is smallest for ranges of any 256 neighbours', () =>
    fc.assert(
      fc.property(
        fc.constantFrom('203.0.113.0/24', '2001:db8::/120', '2001:db8:0:ff00::/56'),
        fc.array(fc.nat(256), { maxLength: 12 }),
        (text, ends) => {
          const base = parseCidr(text)!;
          const isHeld = (cell: number): boolean => ends.filter((end) => end <= cell).length % 2 === 1;
          const space = AddressSpace.fromCidrs(
            base.family,
            cellsOf(base, 8).filter((_, cell) => isHeld(cell)),
          );
          const table = space.toPrefixTable();
          assert.ok(meaningOf(base.family, table).equals(space), show(table).join(', '));
          assert.equal(table.length, fewestUnder(space, wholeFamily(base.family))[0], show(table).join(', '));
        },
      ),
      { numRuns: 300 },
    ));

  it('read by a trie says what the set says', () =>
    fc.assert(
      fc.property(
        family.chain((of) =>
          fc.tuple(fc.constant(of), fc.array(fc.record({ cidr: cidr(of), except: fc.array(cidr(of)) }))),
        ),
        ([of, blocks]) => {
          const space = AddressSpace.fromBlocks(of, blocks);
          const trie = new CidrTrie<boolean>(of);
          for (const entry of space.toPrefixTable()) trie.insert(entry.cidr, entry.match);
          for (const probe of blocks.flatMap((block) => [block.cidr, ...block.except]).flatMap(edgesOf)) {
            assert.equal(trie.lookup(probe.words)?.value ?? false, space.contains(probe), formatAddress(probe));
          }
        },
      ),
    ));

  it('is never longer than the list of disjoint prefixes, and for every other address is that list', () => {
    const everyOther = Array.from({ length: 64 }, (_, i) => cidrOfAddress({ family: 4, words: [0xcb007100 + 2 * i] }));
    const space = AddressSpace.fromCidrs(4, everyOther);
    assert.equal(space.toPrefixTable().length, 64);
    assert.deepEqual(space.toCidrs(), everyOther);
  });
});
