import assert from 'node:assert/strict';
import { BlockList } from 'node:net';
import fc from 'fast-check';
import { type Cidr, cidrContains, formatCidr, parseCidr } from '../../src/net/cidr.ts';
import { compareCidrs } from '../support/cidrs.ts';
import { CidrTrie } from '../../src/net/cidr-trie.ts';
import type { Family } from '../../src/core/vocabulary.ts';
import { type Address, formatAddress, parseAddress } from '../../src/net/ip.ts';
import { address, cidr, edgesOf, family } from './arbitraries.ts';

/** The same by a list that is searched from end to end. */
class LinearTable {
  readonly #entries = new Map<string, { cidr: Cidr; value: number }>();

  insert(key: Cidr, value: number): void {
    this.#entries.set(formatCidr(key), { cidr: key, value });
  }

  remove(key: Cidr): void {
    this.#entries.delete(formatCidr(key));
  }

  get(key: Cidr): number | undefined {
    return this.#entries.get(formatCidr(key))?.value;
  }

  lookup(wanted: Address): { cidr: Cidr; value: number } | undefined {
    return this.covering(wanted).at(-1);
  }

  covering(wanted: Address): { cidr: Cidr; value: number }[] {
    const holding = this.entries().filter((entry) => cidrContains(entry.cidr, wanted));
    return holding.sort((a, b) => a.cidr.prefixLength - b.cidr.prefixLength);
  }

  entries(): { cidr: Cidr; value: number }[] {
    return [...this.#entries.values()].sort((a, b) => compareCidrs(a.cidr, b.cidr));
  }
}

/** Many prefixes under a few, so that they nest and part at every depth. */
const crowd = (of: Family): fc.Arbitrary<Cidr[]> =>
  fc.oneof(
    fc.array(cidr(of), { minLength: 1, maxLength: 30 }),
    fc.array(
      fc.tuple(fc.nat(31), fc.nat(5)).map(([low, bits]) => narrow(of, low, bits)),
      { minLength: 1, maxLength: 30 },
    ),
  );

/** The prefix of the last `bits` bits of `low`, at the very end of a documentation prefix. */
function narrow(of: Family, low: number, bits: number): Cidr {
  return parseCidr(of === 4 ? `203.0.113.${low}/${27 + bits}` : `2001:db8::${low.toString(16)}/${123 + bits}`)!;
}

describe('CidrTrie', () => {
  it('does what a list does, through any inserts and removals', () =>
    fc.assert(
      fc.property(
        family.chain((of) => fc.tuple(crowd(of), fc.array(fc.tuple(fc.boolean(), fc.nat())), fc.array(address(of)))),
        ([cidrs, steps, others]) => {
          const trie = new CidrTrie<number>(cidrs[0]!.family);
          const list = new LinearTable();
          const probes = [...others, ...cidrs.flatMap(edgesOf)];
          for (const [value, [isInsert, index]] of [...cidrs.map((_, i) => [true, i] as const), ...steps].entries()) {
            const key = cidrs[index % cidrs.length]!;
            const previous = list.get(key);
            if (isInsert) list.insert(key, value);
            else list.remove(key);
            assert.equal(isInsert ? trie.insert(key, value) : trie.remove(key), previous);
            assert.equal(trie.size, list.entries().length);
            assert.ok(trie.countNodes() <= Math.max(0, 2 * trie.size - 1), 'a node that is of no use was left');
          }
          assert.deepEqual([...trie], list.entries());
          for (const key of cidrs) assert.equal(trie.get(key), list.get(key));
          for (const probe of probes) {
            const expected = list.lookup(probe);
            assert.deepEqual(trie.lookup(probe.words), expected, formatAddress(probe));
            assert.deepEqual(trie.covering(probe.words), list.covering(probe), formatAddress(probe));
          }
        },
      ),
      { numRuns: 500 },
    ));

  it('finds something exactly where net.BlockList does', () =>
    fc.assert(
      fc.property(
        family.chain((of) => fc.tuple(crowd(of), fc.array(address(of)))),
        ([cidrs, others]) => {
          const [{ family: of }] = cidrs as [Cidr];
          const type = of === 4 ? 'ipv4' : 'ipv6';
          const trie = new CidrTrie<true>(of);
          const list = new BlockList();
          for (const each of cidrs) {
            trie.insert(each, true);
            list.addSubnet(formatAddress(each), each.prefixLength, type);
          }
          for (const probe of [...others, ...cidrs.flatMap(edgesOf)]) {
            const text = formatAddress(probe);
            assert.equal(trie.lookup(probe.words) !== undefined, list.check(text, type), text);
          }
        },
      ),
    ));

  it('keeps a stored undefined apart from nothing', () => {
    const trie = new CidrTrie<undefined>(4);
    const key = parseCidr('203.0.113.0/24')!;
    trie.insert(key, undefined);
    assert.deepEqual(trie.lookup(parseAddress('203.0.113.7')!.words), { cidr: key, value: undefined });
    assert.equal(trie.size, 1);
    trie.remove(key);
    assert.equal(trie.lookup(parseAddress('203.0.113.7')!.words), undefined);
    assert.equal(trie.size, 0);
  });

  it('does not find what only shares the way down', () => {
    const trie = new CidrTrie<string>(4);
    for (const text of ['203.0.113.0/26', '203.0.113.64/26', '203.0.113.128/25']) trie.insert(parseCidr(text)!, text);
    assert.equal(trie.get(parseCidr('203.0.113.0/25')!), undefined);
    assert.equal(trie.get(parseCidr('203.0.113.0/24')!), undefined);
    assert.equal(trie.remove(parseCidr('203.0.113.0/25')!), undefined);
    assert.equal(trie.lookup(parseAddress('203.1.113.7')!.words), undefined);
    assert.equal(trie.size, 3);
  });

  it('refuses a prefix of the other family', () => {
    assert.throws(() => new CidrTrie<number>(4).insert(parseCidr('2001:db8::/32')!, 1), /2001:db8::\/32.*IPv4/);
  });
});
