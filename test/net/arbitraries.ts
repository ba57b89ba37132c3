/** Random addresses and prefixes that meet each other: most differ in a few bits only. */
import fc from 'fast-check';
import { type Cidr, cidrContains, makeCidr } from '../../src/net/cidr.ts';
import type { Family } from '../../src/core/vocabulary.ts';
import { ADDRESS_BITS, ADDRESS_WORDS, type Address, formatAddress, isMapped } from '../../src/net/ip.ts';

export const family: fc.Arbitrary<Family> = fc.constantFrom(4, 6);

/** 16-bit groups among which zero, the group of the mapped prefix and single bits are common. */
const group = fc.oneof(
  { weight: 5, arbitrary: fc.constant(0) },
  { weight: 2, arbitrary: fc.constantFrom(1, 0xffff, 0x8000, 0x0db8, 0x2001) },
  { weight: 2, arbitrary: fc.nat(0xffff) },
);

const anyWords = (of: Family): fc.Arbitrary<readonly number[]> =>
  fc
    .array(group, { minLength: 2 * ADDRESS_WORDS[of], maxLength: 2 * ADDRESS_WORDS[of] })
    .map((groups) =>
      Array.from({ length: ADDRESS_WORDS[of] }, (_, i) => groups[2 * i]! * 0x10000 + groups[2 * i + 1]!),
    );

/** Never IPv4-mapped: such an address is IPv4. */
export const address = (of: Family): fc.Arbitrary<Address> =>
  anyWords(of)
    .filter((words) => of === 4 || !isMapped(words))
    .map((words) => ({ family: of, words }));

export const cidr = (of: Family): fc.Arbitrary<Cidr> =>
  fc
    .tuple(anyWords(of), fc.nat(ADDRESS_BITS[of]))
    .map(([words, prefixLength]) => makeCidr(of, words, prefixLength))
    .filter(({ words, prefixLength }) => of === 4 || prefixLength < 96 || !isMapped(words));

/** Lengths around which words end, and the shortest and the longest. */
const EDGE_LENGTHS: Readonly<Record<Family, readonly number[]>> = {
  4: [0, 1, 2, 15, 16, 24, 30, 31, 32],
  6: [0, 1, 2, 31, 32, 33, 63, 64, 65, 95, 96, 97, 126, 127, 128],
};

/** Prefixes of such lengths whose last bits are ones or zeros mostly: repeated, nested, neighbours across words, all of the family. */
const edgeCidr = (of: Family): fc.Arbitrary<Cidr> => {
  const words = fc.array(fc.constantFrom(0, 0, 1, 0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff, 0xffffffff), {
    minLength: ADDRESS_WORDS[of],
    maxLength: ADDRESS_WORDS[of],
  });
  return fc
    .tuple(words, fc.constantFrom(...EDGE_LENGTHS[of]))
    .map(([each, prefixLength]) => makeCidr(of, each, prefixLength));
};

/** Many prefixes, few of which are so wide that nothing else matters. */
export const manyCidrs = (of: Family): fc.Arbitrary<Cidr[]> => {
  const narrow = fc.oneof(cidr(of), edgeCidr(of)).filter(({ prefixLength }) => prefixLength > 4);
  return fc
    .tuple(fc.array(narrow, { maxLength: 100, size: 'max' }), fc.array(edgeCidr(of), { maxLength: 1 }))
    .map(([many, wide]) => [...many, ...wide, ...many.slice(0, 3)]);
};

/** Addresses at and around the ends of a prefix: where mistakes show. */
export function edgesOf({ family: of, words, prefixLength }: Cidr): Address[] {
  const last = words.map((word, i) => {
    const bits = Math.min(32, Math.max(0, prefixLength - 32 * i));
    return word + 2 ** (32 - bits) - 1;
  });
  return [step(words, -1), words, step(words, 1), step(last, -1), last, step(last, 1)].map((each) => ({
    family: of,
    words: each,
  }));
}

/** `words` plus or minus one, wrapping around. */
function step(words: readonly number[], by: 1 | -1): readonly number[] {
  const result = words.slice();
  for (let i = result.length - 1; i >= 0; i--) {
    result[i] = (result[i]! + by) >>> 0;
    if (result[i] !== (by === 1 ? 0 : 0xffffffff)) break;
  }
  return result;
}

/** The plain meaning of blocks (S-28), by looking at each. */
export function blocksHold(blocks: readonly { cidr: Cidr; except: readonly Cidr[] }[], wanted: Address): boolean {
  return blocks.some(
    (block) => cidrContains(block.cidr, wanted) && !block.except.some((except) => cidrContains(except, wanted)),
  );
}

/** For messages. */
export function show(addresses: readonly Address[]): string {
  return addresses.map(formatAddress).join(' ');
}
