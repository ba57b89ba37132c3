/** Addresses as numbers, for test doubles. Shares nothing with src/net on purpose: that is what it helps to check. */
import { isIP } from 'node:net';
import type { Family } from '../../src/core/vocabulary.ts';

export interface NumberedAddress {
  readonly family: Family;
  readonly value: bigint;
}

/** Walks ask for the same few again and again. */
const numbers = new Map<string, NumberedAddress>();

/** Throws if `text` is not an address. */
export function numberOf(text: string): NumberedAddress {
  let known = numbers.get(text);
  if (!known) {
    known = readAddress(text);
    numbers.set(text, known);
  }
  return known;
}

function readAddress(text: string): NumberedAddress {
  switch (isIP(text)) {
    case 4:
      return { family: 4, value: ofIPv4(text) };
    case 6:
      return { family: 6, value: ofIPv6(text) };
    default:
      throw new Error(`${JSON.stringify(text)} is not an address`);
  }
}

function ofIPv4(text: string): bigint {
  return text.split('.').reduce((value, octet) => value * 256n + BigInt(octet), 0n);
}

function ofIPv6(text: string): bigint {
  const dotted = /^(.*:)(\d+\.\d+\.\d+\.\d+)$/.exec(text);
  const tail = dotted ? ofIPv4(dotted[2]!) : 0n;
  const plain = dotted ? `${dotted[1]}${(tail >> 16n).toString(16)}:${(tail & 0xffffn).toString(16)}` : text;
  const [head = '', rest] = plain.split('::');
  const groups = (part: string | undefined): string[] => (part ? part.split(':') : []);
  const [before, after] = [groups(head), groups(rest)];
  const all = [...before, ...Array<string>(8 - before.length - after.length).fill('0'), ...after];
  return all.reduce((value, group) => value * 65536n + BigInt(`0x${group}`), 0n);
}

export const WIDTH = { 4: 32, 6: 128 } as const;

const MASKS = { 4: masksOf(32), 6: masksOf(128) } as const;

/** The mask of a prefix length. */
export function prefixMask(family: Family, length: number): bigint {
  const mask = MASKS[family][length];
  if (mask === undefined) throw new Error(`IPv${family} has no prefix of ${length} bits`);
  return mask;
}

function masksOf(width: number): readonly bigint[] {
  return Array.from({ length: width + 1 }, (_, length) => ((1n << BigInt(length)) - 1n) << BigInt(width - length));
}
