/** Names of the chains that judge pods, which people meet in the drop log: our prefix, then a hash of all that the chain holds. */
import { hash } from 'node:crypto';

import type { Direction } from '../core/vocabulary.ts';

export const PREFIX = 'PCL';

/** 80 bits: two of a million names collide with a chance of about 4e-13. */
const HASH_LENGTH = 16;
const ALPHABET = 'abcdefghijklmnopqrstuvwxyz234567';

export function endpointChain(direction: Direction, content: string): string {
  return `${PREFIX}-${direction === 'egress' ? 'E' : 'I'}-${shortHash(content)}`;
}

/** Where a name says what its chain is. */
const KIND_AT = PREFIX.length + 1;
const JUDGING_KIND = /^PCL-[EI][NXWAa-h]?$/;

/** The chain that judges replies where the endpoint chain `name`, or part of one, judges the original direction. */
export function replyChain(name: string): string {
  const end = name.indexOf('-', KIND_AT);
  const isJudging = (end === KIND_AT + 1 || end === KIND_AT + 2) && JUDGING_KIND.test(name.slice(0, end));
  return isJudging ? `${name.slice(0, end)}R${name.slice(end)}` : name;
}

/** Stands for the name of an endpoint chain that is not known yet: what leads to one of its parts and to another is told apart. */
export const UNNAMED_CHAIN = `${PREFIX}-E-`;

/** Parts of endpoint chains: `next`: what is asked behind a Pass; where packets end that are denied, or would be; what only counts. */
const PART_LETTERS = { next: 'N', denied: 'X', 'would-deny': 'W', counted: 'A' } as const;
/** What only counts for one audited policy, of several by their place: as many as are counted alone (compile/limits.ts). */
const ALONE_LETTERS = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'] as const;
type AlonePart = `alone-${(typeof ALONE_LETTERS)[number]}`;
export type ChainPart = keyof typeof PART_LETTERS | AlonePart;

/** `number`: of parts that there are several of, from 0. */
export function partChain(endpoint: string, part: ChainPart, number = 0): string {
  const letter = isAlone(part) ? part.slice(-1) : PART_LETTERS[part];
  const name = endpoint.replace(/^(PCL-[EI])-/, `$1${letter}-`);
  return number === 0 ? name : `${name}-${number}`;
}

/** The endpoint chain that a chain is part of, or the chain itself. */
export function wholeOf(chain: string): string {
  return chain.replace(/^(PCL-[EI])[NXWAa-h]R?-([^-]*)(?:-\d+)?$/, '$1-$2');
}

/** Throws where there are no more. */
export function alonePart(place: number): ChainPart {
  const letter = ALONE_LETTERS[place];
  if (letter === undefined) throw new Error(`no more than ${ALONE_LETTERS.length} audited policies are counted alone`);
  return `alone-${letter}`;
}

export function isAlone(part: ChainPart | undefined): part is AlonePart {
  return part?.startsWith('alone-') === true;
}

/** Which part of an endpoint chain it is by its name; undefined: none. */
export function partOf(chain: string): ChainPart | undefined {
  if (!PARTS_BY_LETTER.has(chain.charAt(KIND_AT + 1))) return undefined;
  const letter = /^PCL-[EI]([NXWAa-h])R?-/.exec(chain)?.[1];
  return letter === undefined ? undefined : PARTS_BY_LETTER.get(letter);
}

const PARTS_BY_LETTER: ReadonlyMap<string, ChainPart> = new Map([
  ...Object.entries(PART_LETTERS).map(([part, letter]) => [letter, part as ChainPart] as const),
  ...ALONE_LETTERS.map((letter) => [letter, `alone-${letter}`] as const),
]);
export const CHAIN_PARTS: readonly ChainPart[] = [...PARTS_BY_LETTER.values()];

/** The chain for pods whose own chain cannot be built: everything in that direction is denied. */
export function closedChain(direction: Direction): string {
  return `${PREFIX}-${direction === 'egress' ? 'E' : 'I'}-closed`;
}

/** Where first packets from and to pods that are not programmed yet are dropped. */
export const NEW_PODS_DENIED = `${PREFIX}-NEW-X`;

/** Of an endpoint chain, a part of one, or a closed one: only those count. */
export function isJudging(name: string): boolean {
  return JUDGING.test(name);
}

const JUDGING = /^PCL-[EI][NXWAa-h]?R?-(?:[a-z2-7]{16}|closed)(?:-\d+)?$/;

export function isOurChain(name: string): boolean {
  return name.startsWith(`${PREFIX}-`);
}

/** First 80 bits of SHA-256, in RFC 4648 base32, lower case. */
export function shortHash(key: string): string {
  const digest = hash('sha256', key, 'buffer');
  let text = '';
  for (let bit = 0; text.length < HASH_LENGTH; bit += 5) {
    const value = (digest.readUInt16BE(bit >> 3) >> (11 - (bit & 7))) & 31;
    text += ALPHABET[value];
  }
  return text;
}
