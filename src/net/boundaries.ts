/**
 * A set of addresses of one family as the ascending list of addresses where membership changes: outside before the first, inside
 * from the first, outside from the second, and so on. An odd count reaches the end of the family. Equal sets have equal lists.
 * Stored flat, `width` uint32 an address, `width` being `ADDRESS_WORDS[family]`.
 */
import { type Cidr, cidrCovers, compareCidrs } from './cidr.ts';

export type Boundaries = readonly number[];

/** The addresses of `cidr` that no prefix of `excepts` holds. Any excepts: repeated, nested, covering or missing `cidr`. */
export function boundariesOf(cidr: Cidr, excepts: readonly Cidr[]): Boundaries {
  const boundaries: number[] = [];
  if (excepts.some((except) => cidrCovers(except, cidr))) return boundaries;
  toggle(boundaries, cidr.words);
  let previous: Cidr | undefined;
  for (const except of excepts.filter((each) => cidrCovers(cidr, each)).toSorted(compareCidrs)) {
    // Prefixes nest or are disjoint, and what covers another sorts before it.
    if (previous !== undefined && cidrCovers(previous, except)) continue;
    previous = except;
    toggle(boundaries, except.words);
    toggle(boundaries, endOf(except));
  }
  toggle(boundaries, endOf(cidr));
  return boundaries;
}

/** Adds a boundary at or after the last; two at one address cancel out. Undefined, the end of the family, is no boundary. */
function toggle(boundaries: number[], words: readonly number[] | undefined): void {
  if (words === undefined) return;
  const last = boundaries.length - words.length;
  if (last >= 0 && compareAt(boundaries, last, words, 0, words.length) === 0) boundaries.length = last;
  else boundaries.push(...words);
}

/** The first address after `cidr`; undefined if it reaches the end of the family. */
export function endOf(cidr: Cidr): readonly number[] | undefined {
  if (cidr.prefixLength === 0) return undefined;
  const words = cidr.words.slice();
  const lastBit = cidr.prefixLength - 1;
  let step = 2 ** (31 - (lastBit & 31));
  for (let i = lastBit >>> 5; i >= 0; i--) {
    words[i]! += step;
    if (words[i]! < 2 ** 32) return words;
    words[i] = 0;
    step = 1;
  }
  return undefined;
}

/** The set of addresses for which `op(in a, in b)` holds; `op(false, false)` must be false. One pass over both lists. */
export function combine(
  a: Boundaries,
  b: Boundaries,
  width: number,
  op: (inA: boolean, inB: boolean) => boolean,
): Boundaries {
  const result: number[] = [];
  let i = 0;
  let j = 0;
  let inA = false;
  let inB = false;
  let inside = false;
  while (i < a.length || j < b.length) {
    const order = i === a.length ? 1 : j === b.length ? -1 : compareAt(a, i, b, j, width);
    const [from, at] = order <= 0 ? [a, i] : [b, j];
    if (order <= 0) {
      inA = !inA;
      i += width;
    }
    if (order >= 0) {
      inB = !inB;
      j += width;
    }
    if (op(inA, inB) === inside) continue;
    inside = !inside;
    for (let k = 0; k < width; k++) result.push(from[at + k]!);
  }
  return result;
}

/** How many boundaries lie at or before the address `words`; odd means that the set holds it. */
export function countUpTo(boundaries: Boundaries, words: readonly number[]): number {
  const width = words.length;
  let low = 0;
  let high = boundaries.length / width;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (compareAt(boundaries, middle * width, words, 0, width) <= 0) low = middle + 1;
    else high = middle;
  }
  return low;
}

function compareAt(a: readonly number[], i: number, b: readonly number[], j: number, width: number): number {
  for (let k = 0; k < width; k++) {
    const difference = a[i + k]! - b[j + k]!;
    if (difference !== 0) return difference;
  }
  return 0;
}
