import assert from 'node:assert/strict';
import fc from 'fast-check';
import { CidrIndex } from '../../bench/cidr-index.ts';
import { makeCidr, parseCidr } from '../../src/net/cidr.ts';
import { CidrTrie } from '../../src/net/cidr-trie.ts';
import { ADDRESS_WORDS, formatAddress, parseAddress } from '../../src/net/ip.ts';
import { address, edgesOf, family, manyCidrs } from '../net/arbitraries.ts';

describe('CidrIndex', () => {
  it('is of the trie as it was', () => {
    const key = parseCidr('203.0.113.0/24')!;
    const { words } = parseAddress('203.0.113.7')!;
    const trie = new CidrTrie<string>(4);
    const before = new CidrIndex(trie);
    trie.insert(key, 'later');
    assert.equal(before.lookup(words), undefined);
    assert.equal(new CidrIndex(trie).lookup(words)?.value, 'later');
  });

  it('holds both ends of the family, and what covers all of it', () => {
    for (const [first, last, middle, whole] of [
      ['0.0.0.0/32', '255.255.255.255/32', '203.0.113.7', '0.0.0.0/0'],
      ['::/128', 'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128', '2001:db8::7', '::/0'],
    ] as const) {
      const trie = new CidrTrie<string>(parseCidr(first)!.family);
      const find = (text: string) => new CidrIndex(trie).lookup(parseAddress(text.split('/')[0]!)!.words)?.value;
      for (const text of [first, last]) trie.insert(parseCidr(text)!, text);
      assert.deepEqual([first, middle, last].map(find), [first, undefined, last]);
      trie.insert(parseCidr(whole)!, whole);
      assert.deepEqual([first, middle, last].map(find), [first, whole, last]);
    }
  });

  it('finds of many prefixes what the trie finds', () =>
    fc.assert(
      fc.property(
        family.chain((of) => fc.tuple(fc.constant(of), manyCidrs(of), fc.array(address(of)))),
        ([of, cidrs, others]) => {
          const trie = new CidrTrie<number>(of);
          for (const [i, each] of cidrs.entries()) trie.insert(each, i);
          const index = new CidrIndex(trie);
          for (const probe of [...others, ...cidrs.flatMap(edgesOf)]) {
            assert.equal(index.lookup(probe.words), trie.lookup(probe.words), formatAddress(probe));
          }
        },
      ),
      { numRuns: 300 },
    ));

  for (const own of [4, 6] as const) {
    it(`finds of thousands what the trie finds, IPv${own}`, () => {
      const trie = new CidrTrie<number>(own);
      const cidrs = Array.from({ length: 3_000 }, (_, i) => {
        const words = [0x20000000 + (Math.imul(i, 0x9e3779b1) >>> 3), i, 0, i << 4].slice(0, ADDRESS_WORDS[own]);
        return makeCidr(own, words, own === 4 ? 12 + (i % 21) : 24 + (i % 105));
      });
      for (const [i, each] of cidrs.entries()) trie.insert(each, i);
      const index = new CidrIndex(trie);
      for (const { words } of cidrs.flatMap(edgesOf)) assert.equal(index.lookup(words), trie.lookup(words));
    });
  }
});
