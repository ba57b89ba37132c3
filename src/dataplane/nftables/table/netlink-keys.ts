/** Elements of sets and maps as text -> the bytes of their keys, as nft orders those of each type. */
import { ADDRESS_BITS, parseAddress } from '../../../net/ip.ts';
import { lastWords, parseCidr } from '../../../net/cidr.ts';
import { elementFields } from './write-table.ts';
import { tagNumber } from './tags.ts';

export type Bytes = readonly number[];

/** Both of them are in it. */
export interface KeyRange {
  readonly first: Bytes;
  readonly last: Bytes;
}

/** In whose order the bytes of a key are: libnftables keeps it with the set. */
export type ByteOrder = 'none' | 'host' | 'network';

export interface KeyType {
  /** libnftables' number of the type. */
  readonly number: number;
  readonly bytes: number;
  readonly order: ByteOrder;
}

/** Source: enum datatypes of libnftables. */
const TYPES: Readonly<Record<string, KeyType>> = {
  nf_proto: { number: 2, bytes: 1, order: 'none' },
  ipv4_addr: { number: 7, bytes: 4, order: 'network' },
  ipv6_addr: { number: 8, bytes: 16, order: 'network' },
  inet_proto: { number: 12, bytes: 1, order: 'network' },
  inet_service: { number: 13, bytes: 2, order: 'network' },
  classid: { number: 23, bytes: 4, order: 'host' },
  icmpv6_type: { number: 29, bytes: 1, order: 'network' },
  ifname: { number: 41, bytes: 16, order: 'host' },
};
const BITS_OF_TYPE = 6;
const INTERFACE_BYTES = 16;

export interface KeyFields extends KeyType {
  readonly names: readonly string[];
  readonly fields: readonly KeyType[];
}

const KNOWN = new Map<string, KeyFields | undefined>();

/** Of a key of one field or several; undefined: one of them is not known. */
export function keyTypeOf(type: string): KeyFields | undefined {
  if (!KNOWN.has(type)) KNOWN.set(type, readType(type));
  return KNOWN.get(type);
}

function readType(type: string): KeyFields | undefined {
  const names = type.split(' . ');
  const fields = names.flatMap((name) => TYPES[name] ?? []);
  if (fields.length < names.length) return undefined;
  if (fields.length === 1) return { ...fields[0]!, names, fields };
  return {
    number: fields.reduce((sum, { number }) => (sum << BITS_OF_TYPE) | number, 0),
    bytes: fields.reduce((sum, { bytes }) => sum + ((bytes + 3) & ~3), 0),
    order: 'none',
    names,
    fields,
  };
}

/** Fields of several are each filled up to four bytes. Undefined: it is not known how. */
export function keyOf(type: string, text: string): Bytes | undefined {
  const names = keyTypeOf(type)?.names;
  if (names?.length === 1) return bytesOf(type, text);
  const parts = names && partsOf(names, text);
  if (!parts) return undefined;
  const key: number[] = [];
  for (const [index, name] of names.entries()) {
    const field = bytesOf(name, parts[index]!);
    if (!field) return undefined;
    pushFilled(key, field);
  }
  return key;
}

/** Of an element of an interval set. */
export function keyRangeOf(type: string, text: string): KeyRange | undefined {
  const names = keyTypeOf(type)?.names;
  if (names?.length === 1) return rangeOf(type, text);
  const parts = names && partsOf(names, text);
  if (!parts) return undefined;
  const [first, last]: [number[], number[]] = [[], []];
  for (const [index, name] of names.entries()) {
    const field = rangeOf(name, parts[index]!);
    if (!field) return undefined;
    pushFilled(first, field.first);
    pushFilled(last, field.last);
  }
  return { first, last };
}

function partsOf(names: readonly string[], text: string): readonly string[] | undefined {
  const parts = elementFields(text);
  return parts.length === names.length ? parts : undefined;
}

function pushFilled(all: number[], bytes: Bytes): void {
  for (const byte of bytes) all.push(byte);
  while (all.length % 4 !== 0) all.push(0);
}

function rangeOf(type: string, text: string): KeyRange | undefined {
  if (type !== 'ipv4_addr' && type !== 'ipv6_addr') {
    const bytes = bytesOf(type, text);
    return bytes && { first: bytes, last: bytes };
  }
  const family = type === 'ipv4_addr' ? 4 : 6;
  if (text.includes('/')) {
    const cidr = parseCidr(text);
    return cidr?.family === family ? { first: wordBytes(cidr.words), last: wordBytes(lastWords(cidr)) } : undefined;
  }
  const [from = '', to = from] = text.split('-');
  const [first, last] = [addressOf(from, family), addressOf(to, family)];
  return first && last ? { first, last } : undefined;
}

function bytesOf(type: string, text: string): Bytes | undefined {
  switch (type) {
    case 'ipv4_addr':
      return addressOf(text, 4);
    case 'ipv6_addr':
      return addressOf(text, 6);
    case 'inet_proto':
      return numberOf(text, 1);
    case 'inet_service':
      return numberOf(text, 2);
    case 'classid': {
      const tag = tagNumber(text);
      return tag === undefined ? undefined : littleEndian(tag);
    }
    case 'nf_proto':
      return FAMILY_BYTES[text];
    case 'ifname':
      return /^".*"$/.test(text) ? interfaceOf(text.slice(1, -1)) : undefined;
    default:
      return undefined;
  }
}

/** NFPROTO_IPV4, NFPROTO_IPV6. */
const FAMILY_BYTES: Readonly<Record<string, Bytes>> = { ipv4: [2], ipv6: [10] };

/** A mapped address is taken for the one that it names, which is not what such a set would hold. */
export function addressOf(text: string, family: 4 | 6): Bytes | undefined {
  const address = parseAddress(text);
  return address?.family === family ? wordBytes(address.words) : undefined;
}

/** `bits` of the address matter. */
export function prefixOf(cidr: string, family: 4 | 6): { readonly address: Bytes; readonly bits: number } | undefined {
  const found = parseCidr(cidr);
  return found?.family === family ? { address: wordBytes(found.words), bits: found.prefixLength } : undefined;
}

/** The same, with all bits behind the first ones 0. */
export function maskOf(bits: number, family: 4 | 6): Bytes {
  return Array.from({ length: ADDRESS_BITS[family] / 8 }, (_, at) => {
    const own = Math.min(8, Math.max(0, bits - at * 8));
    return (0xff << (8 - own)) & 0xff;
  });
}

function numberOf(text: string, length: number): number[] | undefined {
  const value = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  return value < 256 ** length ? bigEndian(value, length) : undefined;
}

/** All of the name's bytes, or those that it begins with. */
export function interfaceOf(name: string, isPrefix = false): Bytes | undefined {
  if (!/^[!-~]+$/.test(name) || /["\\*]/.test(name) || name.length >= INTERFACE_BYTES) return undefined;
  const length = isPrefix ? name.length : INTERFACE_BYTES;
  return Array.from({ length }, (_, index) => (index < name.length ? name.charCodeAt(index) : 0));
}

/** The key behind it; undefined: there is none. */
export function nextKey(key: Bytes): Bytes | undefined {
  const next = [...key];
  for (let at = next.length - 1; at >= 0; at--) {
    next[at] = (next[at]! + 1) & 0xff;
    if (next[at] !== 0) return next;
  }
  return undefined;
}

function wordBytes(words: readonly number[]): number[] {
  const bytes: number[] = [];
  for (const word of words) bytes.push(word >>> 24, (word >>> 16) & 0xff, (word >>> 8) & 0xff, word & 0xff);
  return bytes;
}

/** As machines keep numbers on which the agent runs. */
export function littleEndian(value: number): number[] {
  return [value & 0xff, (value >>> 8) & 0xff, (value >>> 16) & 0xff, value >>> 24];
}

export function bigEndian(value: number, length: number): number[] {
  const bytes: number[] = [];
  for (let shift = (length - 1) * 8; shift >= 0; shift -= 8) bytes.push(shift > 24 ? 0 : (value >>> shift) & 0xff);
  return bytes;
}
