/** Lists of CIDRs to measure with. */
import { type Cidr, makeCidr } from '../src/net/cidr.ts';
import type { Family } from '../src/core/vocabulary.ts';
import { ADDRESS_WORDS, type Address } from '../src/net/ip.ts';
import { type Random, below, chance, pick, randomFrom } from './random.ts';

export type Shape = 'random' | 'blocklist';

export function makeCidrs(shape: Shape, family: Family, count: number): readonly Cidr[] {
  const random = randomFrom(0x9e3779b9 ^ count);
  if (shape === 'random') return Array.from({ length: count }, () => randomCidr(random, family));
  return blocklist(random, family, count);
}

/** Lengths 16..32, or 24..128, everywhere. */
function randomCidr(random: Random, family: Family): Cidr {
  return makeCidr(family, words(random, family), family === 4 ? 16 + below(random, 17) : 24 + below(random, 105));
}

/**
 * As published lists of unwanted addresses are: single hosts mostly, crowded into few networks, some of them neighbours; whole
 * networks of /24 and shorter for the rest; here and there a network of which hosts are listed as well.
 */
function blocklist(random: Random, family: Family, count: number): readonly Cidr[] {
  const bits = family === 4 ? 32 : 128;
  const networkBits = family === 4 ? 24 : 64;
  const networks = Array.from({ length: Math.max(8, count >> 5) }, () => words(random, family));
  return Array.from({ length: count }, () => {
    const host = [...pick(random, networks)];
    host[host.length - 1] = ((host.at(-1)! & 0xffffff00) | below(random, 256)) >>> 0;
    if (chance(random, 0.72)) return makeCidr(family, host, bits);
    if (chance(random, 0.15)) return makeCidr(family, host, networkBits);
    return makeCidr(family, words(random, family), networkBits - below(random, 9));
  });
}

function words(random: Random, family: Family): number[] {
  const made = Array.from({ length: ADDRESS_WORDS[family] }, random);
  // Of unicast, as lists are.
  if (family === 6) made[0] = (0x20000000 | (made[0]! & 0x1fffffff)) >>> 0;
  else made[0] = ((made[0]! % 0xdf000000) + 0x01000000) >>> 0;
  return made;
}

/** Every second one lies in one of the CIDRs. */
export function makeAddresses(family: Family, cidrs: readonly Cidr[], count: number): readonly Address[] {
  const random = randomFrom(0x51ed270b);
  return Array.from({ length: count }, (_, index) => ({
    family,
    // A copy, or looking at it would fetch it from beside the prefix, far from the others.
    words: index % 2 === 0 ? words(random, family) : [...pick(random, cidrs).words],
  }));
}
