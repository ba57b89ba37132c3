/**
 * IP addresses as numbers, and their one canonical text.
 *
 * An IPv4-mapped IPv6 address (`::ffff:a.b.c.d`) is the IPv4 address it names: that is what the wire carries (S-31).
 */

import type { Family } from '../core/vocabulary.ts';

export interface Address {
  readonly family: Family;
  /** Family 4: one uint32. Family 6: four uint32, most significant first. */
  readonly words: readonly number[];
}

/** Length of an address in bits. */
export const ADDRESS_BITS = { 4: 32, 6: 128 } as const satisfies Record<Family, number>;

/** Length of an address in 32-bit words. */
export const ADDRESS_WORDS = { 4: 1, 6: 4 } as const satisfies Record<Family, number>;

const GROUPS = 8;
const DOT = 0x2e;
const COLON = 0x3a;
const HEX_CODES = codesOf('0123456789abcdef');

/** By value, as text; making them anew takes longer than putting them together. */
const OCTETS = Array.from({ length: 256 }, (_, octet) => `${octet}`);
const OCTETS_DOTTED = OCTETS.map((octet) => `${octet}.`);

/** By character code of ASCII: the value of a hexadecimal digit, -1 for any other character. */
const HEX_VALUES = new Int8Array(128).fill(-1);
for (const digits of [HEX_CODES, codesOf('0123456789ABCDEF')]) {
  for (const [value, code] of digits.entries()) HEX_VALUES[code] = value;
}

function codesOf(text: string): Uint8Array {
  return Uint8Array.from(text, (character) => character.charCodeAt(0));
}

/**
 * The address that `text` names, or undefined. Takes IPv4 dotted decimal and every form of RFC 4291 section 2.2; no zone, no
 * spaces, no `/n`. Leading zeros never change a value: `010.0.0.1` is 10.0.0.1 (S-31), as in the parser behind the API's own
 * validation (k8s.io/utils/net ParseIPSloppy).
 */
export function parseAddress(text: string): Address | undefined {
  const words = parseWords(text, text.length);
  return words === undefined ? undefined : addressOf(words);
}

/** Of an address or prefix as text, whatever its form; a host name counts as IPv4. */
export function familyOf(text: string): Family {
  return text.includes(':') ? 6 : 4;
}

/** The address with these words; IPv4-mapped becomes family 4. */
function addressOf(words: readonly number[]): Address {
  if (words.length === 1) return { family: 4, words };
  return isMapped(words) ? { family: 4, words: [words[3]!] } : { family: 6, words };
}

/** Whether four words lie in `::ffff:0:0/96`. */
export function isMapped(words: readonly number[]): boolean {
  return words[2] === 0xffff && words[1] === 0 && words[0] === 0;
}

/** The address of `width` words at `at` of a flat list. */
export function wordsAt(list: Uint32Array, at: number, width: number): number[] {
  return width === 1 ? [list[at]!] : [list[at]!, list[at + 1]!, list[at + 2]!, list[at + 3]!];
}

/** The words of the address in `text[0..end)`: one for IPv4, four for IPv6 (mapped or not); undefined if it is none. */
export function parseWords(text: string, end: number): number[] | undefined {
  for (let i = 0; i < end; i++) {
    const code = text.charCodeAt(i);
    if (code === COLON) return parseIPv6(text, end);
    if (code === DOT) {
      const word = parseIPv4(text, 0, end);
      return word < 0 ? undefined : [word];
    }
  }
  return undefined;
}

/** Dotted decimal in `text[start..end)` as a uint32; -1 if it is not. */
function parseIPv4(text: string, start: number, end: number): number {
  let word = 0;
  let octet = -1;
  let dots = 0;
  for (let i = start; i < end; i++) {
    const digit = text.charCodeAt(i) - 0x30;
    if (digit >= 0 && digit <= 9) {
      octet = octet < 0 ? digit : octet * 10 + digit;
      if (octet > 255) return -1;
    } else {
      if (digit !== DOT - 0x30 || octet < 0) return -1;
      word = (word << 8) | octet;
      octet = -1;
      dots++;
    }
  }
  return octet < 0 || dots !== 3 ? -1 : ((word << 8) | octet) >>> 0;
}

/** Value of a hexadecimal digit's character code; -1 for any other character. */
function hexDigit(code: number): number {
  return code < HEX_VALUES.length ? HEX_VALUES[code]! : -1;
}

/** Words of the IPv6 address in `text[0..end)`. */
function parseIPv6(text: string, end: number): number[] | undefined {
  const groups = [0, 0, 0, 0, 0, 0, 0, 0];
  let count = 0;
  let gap = -1;
  let i = 0;
  if (text.charCodeAt(0) === COLON) {
    if (end < 2 || text.charCodeAt(1) !== COLON) return undefined;
    gap = 0;
    i = 2;
  }
  while (i < end) {
    if (count === GROUPS) return undefined;
    const start = i;
    let group = 0;
    let code = 0;
    for (; i < end; i++) {
      code = text.charCodeAt(i);
      const digit = hexDigit(code);
      if (digit < 0) break;
      group = (group << 4) | digit;
      if (group > 0xffff) return undefined;
    }
    if (i === start) return undefined;
    if (i < end && code === DOT) {
      const tail = parseIPv4(text, start, end);
      if (tail < 0 || count > GROUPS - 2) return undefined;
      groups[count++] = tail >>> 16;
      groups[count++] = tail & 0xffff;
      break;
    }
    groups[count++] = group;
    if (i === end) break;
    if (code !== COLON || ++i === end) return undefined;
    if (text.charCodeAt(i) === COLON) {
      if (gap >= 0) return undefined;
      gap = count;
      i++;
    }
  }
  return joinGroups(groups, count, gap);
}

/** Four words from `count` groups, of which those from `gap` on (-1: no `::`) belong at the end. */
function joinGroups(groups: number[], count: number, gap: number): number[] | undefined {
  if (gap < 0 ? count !== GROUPS : count === GROUPS) return undefined;
  if (gap >= 0) {
    const shift = GROUPS - count;
    for (let i = count - 1; i >= gap; i--) groups[i + shift] = groups[i]!;
    for (let i = gap; i < gap + shift; i++) groups[i] = 0;
  }
  return [join(groups, 0), join(groups, 2), join(groups, 4), join(groups, 6)];
}

function join(groups: readonly number[], index: number): number {
  return groups[index]! * 0x10000 + groups[index + 1]!;
}

/**
 * Canonical text: RFC 5952, with the two choices that glibc's inet_ntop makes and `ipset save` therefore prints: the IPv4-mapped
 * and the IPv4-compatible addresses (`::/96` with a group other than the last set, `::0.1.0.0`) end in dotted decimal.
 * musl's inet_ntop prints the latter in hexadecimal, so compare read-back text after parsing it.
 */
export function formatAddress(address: Address): string {
  return formatWords(address.words);
}

/** Canonical text of one or four words; see `formatAddress`. */
export function formatWords(words: readonly number[]): string {
  if (words.length === 1) return formatIPv4(words[0]!);
  const { start, length } = longestZeroRun(words);
  if (start === 0 && length === 6) return `::${formatIPv4(words[3]!)}`;
  if (isMapped(words)) return `::ffff:${formatIPv4(words[3]!)}`;
  const codes: number[] = [];
  pushGroups(codes, words, 0, start);
  if (length > 0) codes.push(COLON, COLON);
  pushGroups(codes, words, start + length, GROUPS);
  // Joined from parts it would be a tree of strings, to be put together when it is read.
  return String.fromCharCode(...codes);
}

function formatIPv4(word: number): string {
  const network =
    OCTETS_DOTTED[word >>> 24]! + OCTETS_DOTTED[(word >>> 16) & 255]! + OCTETS_DOTTED[(word >>> 8) & 255]!;
  return network + OCTETS[word & 255]!;
}

/** The 16 bits at `index` of the eight groups that IPv6 text shows. */
function groupAt(words: readonly number[], index: number): number {
  const word = words[index >>> 1]!;
  return index & 1 ? word & 0xffff : word >>> 16;
}

/** The character codes of the groups `from..to-1`, without leading zeros, colons between them. */
function pushGroups(codes: number[], words: readonly number[], from: number, to: number): void {
  for (let i = from; i < to; i++) {
    const group = groupAt(words, i);
    if (i > from) codes.push(COLON);
    if (group > 0xfff) codes.push(HEX_CODES[group >>> 12]!);
    if (group > 0xff) codes.push(HEX_CODES[(group >>> 8) & 15]!);
    if (group > 0xf) codes.push(HEX_CODES[(group >>> 4) & 15]!);
    codes.push(HEX_CODES[group & 15]!);
  }
}

/** The longest run of two zero groups or more, the first of equals; none is the empty one behind the last group. */
function longestZeroRun(words: readonly number[]): { start: number; length: number } {
  let [start, length] = [GROUPS, 0];
  for (let i = 0, run = 0; i < GROUPS; i++) {
    run = groupAt(words, i) === 0 ? run + 1 : 0;
    if (run > Math.max(length, 1)) [start, length] = [i + 1 - run, run];
  }
  return { start, length };
}

/** `text` as canonical text; undefined if it is not an address. */
export function canonicalAddress(text: string): string | undefined {
  const address = parseAddress(text);
  return address === undefined ? undefined : formatAddress(address);
}
