/** Names of the chains that judge pods, which people meet in the drop log: our prefix, then a hash of all that the chain holds. */
import { createHash } from 'node:crypto';

import type { Direction } from '../core/vocabulary.ts';

export const PREFIX = 'PCL';

/** 80 bits: two of a million names collide with a chance of about 4e-13. */
const HASH_LENGTH = 16;
const ALPHABET = 'abcdefghijklmnopqrstuvwxyz234567';

export function endpointChain(direction: Direction, content: string): string {
  return `${PREFIX}-${direction === 'egress' ? 'E' : 'I'}-${shortHash(content)}`;
}

/** The chain that judges replies where the endpoint chain `name`, or part of one, judges the original direction. */
export function replyChain(name: string): string {
  return name.replace(/^(PCL-[EI][NXWA]?)-/, '$1R-');
}

/** Stands for the name of an endpoint chain that is not known yet: what leads to one of its parts and to another is told apart. */
export const UNNAMED_CHAIN = `${PREFIX}-E-`;

/** Parts of endpoint chains: `next`: what is asked behind a Pass; where packets end that are denied, or would be; what only counts. */
const PART_LETTERS = { next: 'N', denied: 'X', 'would-deny': 'W', counted: 'A' } as const;
export type ChainPart = keyof typeof PART_LETTERS;

export function partChain(endpoint: string, part: ChainPart): string {
  return endpoint.replace(/^(PCL-[EI])-/, `$1${PART_LETTERS[part]}-`);
}

/** Which part of an endpoint chain it is by its name; undefined: none. */
export function partOf(chain: string): ChainPart | undefined {
  const letter = /^PCL-[EI]([NXWA])R?-/.exec(chain)?.[1];
  return CHAIN_PARTS.find((part) => PART_LETTERS[part] === letter);
}

export const CHAIN_PARTS = Object.keys(PART_LETTERS) as readonly ChainPart[];

/** The chain for pods whose own chain cannot be built: everything in that direction is denied. */
export function closedChain(direction: Direction): string {
  return `${PREFIX}-${direction === 'egress' ? 'E' : 'I'}-closed`;
}

/** Where first packets from and to pods that are not programmed yet are dropped. */
export const NEW_PODS_DENIED = `${PREFIX}-NEW-X`;

export function isOurChain(name: string): boolean {
  return name.startsWith(`${PREFIX}-`);
}

/** First 80 bits of SHA-256, in RFC 4648 base32, lower case. */
export function shortHash(key: string): string {
  const digest = createHash('sha256').update(key).digest();
  let text = '';
  for (let bit = 0; text.length < HASH_LENGTH; bit += 5) {
    const value = (digest.readUInt16BE(bit >> 3) >> (11 - (bit & 7))) & 31;
    text += ALPHABET[value];
  }
  return text;
}
