/**
 * A set of addresses of one family as the ascending list of addresses where membership changes: outside before the first, inside
 * from the first, outside from the second, and so on. An odd count reaches the end of the family. Equal sets have equal lists.
 * Stored flat, `width` uint32 an address, `width` being `ADDRESS_WORDS[family]`.
 */
import { type Cidr, moveOn } from './cidr.ts';
import type { Family } from '../core/vocabulary.ts';
import { ADDRESS_WORDS } from './ip.ts';
import { sortRecords } from './sort-records.ts';

/** Never written to once it is made. */
export type Boundaries = Uint32Array;

/**
 * The union of those of `cidrs` that are of the family: repeated, nested or touching, in any order. One sort and one pass: prefixes
 * nest or are apart, and in the order of `compareCidrs` what covers another comes before it.
 */
export function boundariesOf(family: Family, cidrs: readonly Cidr[]): Boundaries {
  const width = ADDRESS_WORDS[family];
  const records = recordsOf(family, cidrs);
  sortRecords(records, width + 1);
  const result = new Uint32Array(2 * width * (records.length / (width + 1)));
  let length = 0;
  for (let i = 0; i < records.length; i += width + 1) {
    // The last boundary is where what has been taken ends.
    const order = length === 0 ? 1 : compareAt(records, i, result, length - width, width);
    if (order < 0) continue;
    if (order === 0) {
      length -= width;
    } else {
      copyAddress(records, i, result, length, width);
      length += width;
    }
    copyAddress(records, i, result, length, width);
    // Whatever comes after a prefix that reaches the end of the family lies in it.
    if (!moveOn(result, length, records[i + width]!)) break;
    length += width;
  }
  return result.slice(0, length);
}

/** The words of each prefix of the family, and its length behind them. */
function recordsOf(family: Family, cidrs: readonly Cidr[]): Uint32Array {
  const width = ADDRESS_WORDS[family];
  const records = new Uint32Array((width + 1) * cidrs.length);
  let length = 0;
  for (const { family: own, words, prefixLength } of cidrs) {
    if (own !== family) continue;
    for (let k = 0; k < width; k++) records[length++] = words[k]!;
    records[length++] = prefixLength;
  }
  return records.subarray(0, length);
}

/** The set of addresses for which `op(in a, in b)` holds; `op(false, false)` must be false. One pass over both lists. */
export function combine(
  a: Boundaries,
  b: Boundaries,
  width: number,
  op: (inA: boolean, inB: boolean) => boolean,
): Boundaries {
  const result = new Uint32Array(a.length + b.length);
  let length = 0;
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
    copyAddress(from, at, result, length, width);
    length += width;
  }
  return result.slice(0, length);
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

function copyAddress(from: Uint32Array, at: number, to: Uint32Array, place: number, width: number): void {
  for (let k = 0; k < width; k++) to[place + k] = from[at + k]!;
}

function compareAt(a: ArrayLike<number>, i: number, b: ArrayLike<number>, j: number, width: number): number {
  for (let k = 0; k < width; k++) {
    const difference = a[i + k]! - b[j + k]!;
    if (difference !== 0) return difference;
  }
  return 0;
}
