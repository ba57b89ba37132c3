/** The address space as blocks of policies cut it: addresses within the same blocks are one region. */
import type { Family } from '../../core/vocabulary.ts';

import { AddressSpace } from '../../net/address-space.ts';
import { CidrTrie } from '../../net/cidr-trie.ts';
import { type Cidr, cidrCovers, formatCidr, wholeFamily } from '../../net/cidr.ts';
import { ADDRESS_BITS, type Address, formatAddress, parseAddress } from '../../net/ip.ts';
import { peersOf, type PolicyRules, rulesOf } from './rules.ts';

export interface Region {
  /** The smallest block that holds it. */
  readonly cidr: Cidr;
  /** Blocks within it, whose addresses are not of this region; ascending. */
  readonly without: readonly Cidr[];
}

/** Prefixes nest: the longest that holds an address tells which others do. */
export class Regions {
  readonly #tries: Readonly<Record<Family, CidrTrie<string>>>;

  constructor(worlds: readonly PolicyRules[]) {
    this.#tries = { 4: trieOf(4), 6: trieOf(6) };
    for (const peer of worlds.flatMap((world) => peersOf(rulesOf(world)))) {
      if (peer.kind !== 'ip-block') continue;
      for (const cidr of [peer.cidr, ...peer.except]) this.#tries[cidr.family].insert(cidr, formatCidr(cidr));
    }
  }

  /** As text, the smallest block of policies that holds the address; the whole family where none does. */
  keyOf({ family, words }: Address): string {
    return this.#tries[family].lookup(words)!.value;
  }

  list(family: Family): readonly Region[] {
    const cidrs = [...this.#tries[family]].map(({ cidr }) => cidr);
    return cidrs.map((cidr, index) => ({ cidr, without: coveredFrom(cidrs, index + 1, cidr) }));
  }

  /** An address of the region that is not taken; undefined: there is none. */
  freeAddress({ cidr, without }: Region, taken: { has(address: string): boolean }): string | undefined {
    const { family } = cidr;
    const key = formatCidr(cidr);
    const known = OUTSIDE[family].find((text) => !taken.has(text) && this.keyOf(parseAddress(text)!) === key);
    if (known !== undefined) return known;
    const space = AddressSpace.fromCidrs(family, [cidr]).difference(AddressSpace.fromCidrs(family, without));
    for (const part of space.toCidrs()) {
      for (const address of addressesIn(part)) if (!taken.has(address)) return address;
    }
    return undefined;
  }
}

/** For documentation (RFC 5737, RFC 3849): people know them as nobody's. */
const OUTSIDE = { 4: ['203.0.113.1', '198.51.100.1', '192.0.2.1'], 6: ['2001:db8::1'] } as const;

function trieOf(family: Family): CidrTrie<string> {
  const trie = new CidrTrie<string>(family);
  const whole = wholeFamily(family);
  trie.insert(whole, formatCidr(whole));
  return trie;
}

/** `cidrs` is sorted: what a prefix covers follows it. */
function coveredFrom(cidrs: readonly Cidr[], from: number, cidr: Cidr): readonly Cidr[] {
  let end = from;
  while (end < cidrs.length && cidrCovers(cidr, cidrs[end]!)) end++;
  return cidrs.slice(from, end);
}

/** The first address of a block last: it names the block. */
function* addressesIn({ family, words, prefixLength }: Cidr): Generator<string> {
  const count = 2 ** Math.min(32, ADDRESS_BITS[family] - prefixLength);
  const last = words.length - 1;
  const at = (offset: number): string =>
    formatAddress({ family, words: words.map((word, index) => (index === last ? word + offset : word)) });
  for (let offset = 1; offset < count; offset++) yield at(offset);
  yield at(0);
}
