/** Prefixes of IP addresses: text, order, containment. */
import type { Family } from '../core/vocabulary.ts';
import { ADDRESS_BITS, ADDRESS_WORDS, type Address, formatWords, isMapped, parseWords } from './ip.ts';

/** A prefix of one address family. Host bits are zero. */
export interface Cidr {
  readonly family: Family;
  /** Family 4: one uint32. Family 6: four uint32, most significant first. */
  readonly words: readonly number[];
  /** 0..32 or 0..128. */
  readonly prefixLength: number;
}

const SLASH = 0x2f;

/** Bits of the prefix under which IPv6 holds the IPv4 addresses, `::ffff:0:0/96`. */
const MAPPED_PREFIX = 96;

/**
 * The prefix that `text` (`address/n`, decimal n) names, or undefined; a missing `/n` is invalid. Host bits are cleared (S-29).
 * An IPv4-mapped IPv6 prefix of 96 bits or more is its IPv4 equivalent; leading zeros never change a value (S-31).
 */
export function parseCidr(text: string): Cidr | undefined {
  const slash = slashOf(text);
  if (slash < 0) return undefined;
  const words = parseWords(text, slash);
  if (words === undefined) return undefined;
  const family = words.length === 1 ? 4 : 6;
  const prefixLength = parsePrefixLength(text, slash + 1, ADDRESS_BITS[family]);
  if (prefixLength < 0) return undefined;
  if (family === 6 && prefixLength >= MAPPED_PREFIX && isMapped(words)) {
    return makeCidr(4, [words[3]!], prefixLength - MAPPED_PREFIX);
  }
  clearHostBits(words, prefixLength);
  return { family, words, prefixLength };
}

/** Where the last `/` is, near the end in a prefix; -1 if there is none. Another one before it is no part of an address. */
function slashOf(text: string): number {
  let at = text.length - 1;
  while (at >= 0 && text.charCodeAt(at) !== SLASH) at--;
  return at;
}

/** Decimal digits from `start` to the end of `text`, at most `limit`; -1 if anything else is there. */
function parsePrefixLength(text: string, start: number, limit: number): number {
  if (start === text.length) return -1;
  let value = 0;
  for (let i = start; i < text.length; i++) {
    const digit = text.charCodeAt(i) - 0x30;
    if (digit < 0 || digit > 9) return -1;
    value = value * 10 + digit;
    if (value > limit) return -1;
  }
  return value;
}

/** The prefix of `prefixLength` bits that holds the address `words`; host bits are cleared. */
export function makeCidr(family: Family, words: readonly number[], prefixLength: number): Cidr {
  return { family, words: maskWords(words, prefixLength), prefixLength };
}

/**
 * Moves the address at `at` of `words`, the first of a block of `prefixLength` bits, on to the first behind that block. False if
 * there is none: the block reaches the end of the family.
 */
export function moveOn(words: Uint32Array, at: number, prefixLength: number): boolean {
  const lastBit = prefixLength - 1;
  let step = (1 << (31 - (lastBit & 31))) >>> 0;
  for (let i = lastBit >> 5; i >= 0; i--) {
    const sum = words[at + i]! + step;
    words[at + i] = sum;
    // Else it went modulo 2^32, and one is carried.
    if (sum < 2 ** 32) return true;
    step = 1;
  }
  return false;
}

/** `words` with all bits from `prefixLength` on cleared. */
function maskWords(words: readonly number[], prefixLength: number): readonly number[] {
  const masked = words.slice();
  clearHostBits(masked, prefixLength);
  return masked;
}

function clearHostBits(words: number[], prefixLength: number): void {
  for (let i = prefixLength >>> 5; i < words.length; i++) words[i] = maskWord(words[i]!, prefixLength - 32 * i);
}

/** The first `bits` bits of a word, as uint32; any `bits` below 0 counts as 0, above 32 as 32. */
function maskWord(word: number, bits: number): number {
  if (bits <= 0) return 0;
  return bits >= 32 ? word : (word & (-1 << (32 - bits))) >>> 0;
}

/** Canonical text, always with `/n`. */
export function formatCidr(cidr: Cidr): string {
  return `${formatWords(cidr.words)}/${cidr.prefixLength}`;
}

/** Every address of the family. */
export function wholeFamily(family: Family): Cidr {
  return { family, words: new Array<number>(ADDRESS_WORDS[family]).fill(0), prefixLength: 0 };
}

/** Whether `address` lies in `cidr`; never for another family. */
export function cidrContains(cidr: Cidr, address: Address): boolean {
  return cidr.family === address.family && sharesPrefix(cidr.words, address.words, cidr.prefixLength);
}

/** Whether every address of `inner` lies in `outer`; a prefix covers itself. */
export function cidrCovers(outer: Cidr, inner: Cidr): boolean {
  return (
    outer.family === inner.family &&
    outer.prefixLength <= inner.prefixLength &&
    sharesPrefix(outer.words, inner.words, outer.prefixLength)
  );
}

function sharesPrefix(a: readonly number[], b: readonly number[], bits: number): boolean {
  for (let i = 0; i * 32 < bits; i++) {
    if (maskWord((a[i]! ^ b[i]!) >>> 0, bits - 32 * i) !== 0) return false;
  }
  return true;
}

/** The last address of the prefix. */
export function lastWords({ words, prefixLength }: Cidr): readonly number[] {
  return words.map((word, i) => (word | (maskWord(0xffffffff, prefixLength - 32 * i) ^ 0xffffffff)) >>> 0);
}

/** The lower and the upper half; undefined for a single address. */
export function halvesOf(cidr: Cidr): readonly [Cidr, Cidr] | undefined {
  const { family, words, prefixLength } = cidr;
  if (prefixLength === ADDRESS_BITS[family]) return undefined;
  const upper = words.slice();
  upper[prefixLength >>> 5]! += 2 ** (31 - (prefixLength & 31));
  return [
    { family, words, prefixLength: prefixLength + 1 },
    { family, words: upper, prefixLength: prefixLength + 1 },
  ];
}

/** `cidr` as `ipset save` prints a member of `hash:net`: without `/n` when it is a single address. */
export function formatNetMember(cidr: Cidr): string {
  return cidr.prefixLength === ADDRESS_BITS[cidr.family] ? formatWords(cidr.words) : formatCidr(cidr);
}
