/** What tests and benchmarks ask of addresses and prefixes, and the product does not. */
import type { Family } from '../../src/core/vocabulary.ts';
import { type Cidr, makeCidr } from '../../src/net/cidr.ts';
import { ADDRESS_BITS, ADDRESS_WORDS, type Address, parseWords } from '../../src/net/ip.ts';

/** The prefix that holds this address alone. */
export function cidrOfAddress({ family, words }: Address): Cidr {
  return makeCidr(family, words, ADDRESS_BITS[family]);
}

/** IPv4 before IPv6, then by number. */
export function compareAddresses(a: Address, b: Address): number {
  return a.family - b.family || compareWords(a.words, b.words);
}

/** By family, then by first address, then the wider first: a prefix comes right before what it covers. */
export function compareCidrs(a: Cidr, b: Cidr): number {
  return compareAddresses(a, b) || a.prefixLength - b.prefixLength;
}

/**
 * Reads what `formatNetMember` writes, for a set of that family. Unlike `parseCidr` it leaves an IPv4-mapped prefix in IPv6, where
 * a set of family inet6 keeps it. Undefined for anything else.
 */
export function parseNetMember(family: Family, text: string): Cidr | undefined {
  const slash = text.indexOf('/');
  const words = parseWords(text, slash < 0 ? text.length : slash);
  if (words?.length !== ADDRESS_WORDS[family]) return undefined;
  const bits = slash < 0 ? ADDRESS_BITS[family] : Number(/^\d{1,3}$/.exec(text.slice(slash + 1))?.[0]);
  return bits <= ADDRESS_BITS[family] ? makeCidr(family, words, bits) : undefined;
}

/** Order of the numbers behind two lists of the same length: negative, 0 or positive. */
function compareWords(a: readonly number[], b: readonly number[]): number {
  for (let i = 0; i < a.length; i++) {
    const difference = a[i]! - b[i]!;
    if (difference !== 0) return difference;
  }
  return 0;
}
