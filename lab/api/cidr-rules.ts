/** CIDRs as a Kubernetes 1.34 API server reads and compares them. For validation only, not for speed. Pure. */
import { isIP } from 'node:net';
import { formatWords, isMapped, parseWords } from '../../src/net/ip.ts';

export interface ParsedCidr {
  /** As written: an IPv4-mapped prefix is family 6. */
  readonly family: 4 | 6;
  /** The network address, host bits cleared. */
  readonly network: bigint;
  /** As written. */
  readonly bits: number;
  /** Accepted for old objects' sake, but worth a warning. */
  readonly oddities: readonly CidrOddity[];
  /** Network and length in canonical form, an IPv4-mapped prefix as IPv4. */
  readonly canonical: string;
}

/** `non-standard`: leading zeros or IPv4-mapped; `not-canonical`: another spelling of an IPv6 prefix. */
export type CidrOddity = 'host-bits' | 'non-standard' | 'not-canonical';

const WIDTH = { 4: 32, 6: 128 } as const;
/** The API server reads numbers below this, leading zeros included. */
const MAX_LENGTH_VALUE = 0xffffff;

/** Undefined if the text is no CIDR. Leading zeros never change a value, neither in the address nor in the length (S-31). */
export function parseCidr(text: string): ParsedCidr | undefined {
  const slash = text.indexOf('/');
  const lengthText = text.slice(slash + 1);
  if (slash < 0 || !/^\d+$/.test(lengthText)) return undefined;
  const words = parseWords(text, slash);
  if (!words) return undefined;
  const family = words.length === 1 ? 4 : 6;
  const bits = Number(lengthText);
  if (bits >= MAX_LENGTH_VALUE || bits > WIDTH[family]) return undefined;
  const address = bigintOf(words);
  const network = clearHostBits(address, WIDTH[family] - bits);
  const canonical = canonicalText(family, network, bits);
  return { family, network, bits, canonical, oddities: oddities(text, slash, address !== network, canonical) };
}

/**
 * True if every address of `inner` is one of `outer` and `inner`'s length, as written, is the greater. An IPv4-mapped
 * prefix is compared by its IPv4 address, but its length counts from 96: `::ffff:10.0.0.0/104` is inside of `10.0.0.0/8`.
 */
export function isStrictSubset(inner: ParsedCidr, outer: ParsedCidr): boolean {
  const [a, b] = [comparable(inner), comparable(outer)];
  if (a.width !== b.width || inner.bits <= outer.bits) return false;
  return clearHostBits(a.network, b.width - b.bits) === b.network;
}

function comparable({ family, network, bits }: ParsedCidr): { width: number; network: bigint; bits: number } {
  if (family === 6 && network >> 32n === 0xffffn) return { width: 32, network: network & 0xffffffffn, bits: bits - 96 };
  return { width: WIDTH[family], network, bits };
}

function canonicalText(family: 4 | 6, network: bigint, bits: number): string {
  const words = wordsOf(network, family === 4 ? 1 : 4);
  return family === 6 && isMapped(words)
    ? `${formatWords(words.slice(3))}/${bits - 96}`
    : `${formatWords(words)}/${bits}`;
}

/** Undefined if the text is no address; an IPv4-mapped address stays one of 128 bits. */
export function addressValue(text: string): bigint | undefined {
  const words = parseWords(text, text.length);
  return words && bigintOf(words);
}

function bigintOf(words: readonly number[]): bigint {
  return words.reduce((value, word) => (value << 32n) | BigInt(word), 0n);
}

function wordsOf(value: bigint, count: number): number[] {
  return Array.from({ length: count }, (_, index) => Number((value >> BigInt(32 * (count - 1 - index))) & 0xffffffffn));
}

function oddities(text: string, slash: number, hostBits: boolean, canonical: string): readonly CidrOddity[] {
  const strict = isIP(text.slice(0, slash)) !== 0 && /\/(0|[1-9]\d*)$/.test(text);
  const isMappedText = canonical.includes('.') && text.includes(':');
  const found: CidrOddity[] = [];
  if (hostBits) found.push('host-bits');
  if (!strict || isMappedText) found.push('non-standard');
  if (found.length === 0 && text !== canonical) found.push('not-canonical');
  return found;
}

const clearHostBits = (value: bigint, hostBits: number): bigint => (value >> BigInt(hostBits)) << BigInt(hostBits);
