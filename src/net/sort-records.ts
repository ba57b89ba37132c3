/** Sorts records of a few words where they lie: a radix sort that looks no further than it takes to tell them apart. */

/** Up to so many records are put in order one by one. */
const FEW = 24;

/** With more buckets at a time than this many bits make, the places written to would not stay in the first cache. */
const MAX_DIGIT_BITS = 10;

/** Sorts records of `width` uint32 that lie one behind the other, by their first word, then by the next. */
export function sortRecords(words: Uint32Array, width: number): void {
  sortRange(words, new Uint32Array(words.length), 0, words.length, width);
}

/** Sorts `words[from..to)` by the bits from the first on in which its records differ; `scratch` is as long as `words`. */
function sortRange(words: Uint32Array, scratch: Uint32Array, from: number, to: number, width: number): void {
  const bit = firstDifference(words, from, to, width);
  if (bit < 0) return;
  const count = (to - from) / width;
  if (count <= FEW) {
    insertEach(words, scratch, from, to, width, bit >>> 5);
    return;
  }
  // About four records a bucket; a digit ends with its word.
  const digitBits = Math.min(MAX_DIGIT_BITS, 30 - Math.clz32(count), 32 - (bit & 31));
  const ends = distribute(words, scratch, from, to, width, bit, digitBits);
  let start = from;
  for (const end of ends) {
    if (end > start + width) sortRange(words, scratch, start, end, width);
    start = end;
  }
}

/** The first bit in which two records of `words[from..to)` differ; -1 if all are equal. */
function firstDifference(words: Uint32Array, from: number, to: number, width: number): number {
  for (let k = 0; k < width; k++) {
    const word = words[from + k]!;
    let difference = 0;
    for (let i = from + k; i < to; i += width) difference |= words[i]! ^ word;
    if (difference !== 0) return 32 * k + Math.clz32(difference);
  }
  return -1;
}

/** Puts `words[from..to)` in the order of the `digitBits` bits from `bit` on; returns where the records of each digit end. */
function distribute(
  words: Uint32Array,
  scratch: Uint32Array,
  from: number,
  to: number,
  width: number,
  bit: number,
  digitBits: number,
): Uint32Array {
  const first = from + (bit >>> 5);
  const shift = 32 - (bit & 31) - digitBits;
  const mask = (1 << digitBits) - 1;
  const places = new Uint32Array(1 << digitBits);
  for (let i = first; i < to; i += width) places[(words[i]! >>> shift) & mask]! += width;
  let place = from;
  for (let digit = 0; digit <= mask; digit++) {
    const size = places[digit]!;
    places[digit] = place;
    place += size;
  }
  for (let i = from; i < to; i += width) {
    const digit = (words[i + first - from]! >>> shift) & mask;
    copyRecord(words, i, scratch, places[digit]!, width);
    places[digit]! += width;
  }
  for (let i = from; i < to; i++) words[i] = scratch[i]!;
  return places;
}

/** Insertion sort of `words[from..to)`, in all of which the first `equal` words are the same; `scratch` holds the record on its way. */
function insertEach(
  words: Uint32Array,
  scratch: Uint32Array,
  from: number,
  to: number,
  width: number,
  equal: number,
): void {
  for (let i = from + width; i < to; i += width) {
    if (!isGreater(words, i - width, words, i, width, equal)) continue;
    copyRecord(words, i, scratch, 0, width);
    let place = i;
    do {
      copyRecord(words, place - width, words, place, width);
      place -= width;
    } while (place > from && isGreater(words, place - width, scratch, 0, width, equal));
    copyRecord(scratch, 0, words, place, width);
  }
}

function isGreater(a: Uint32Array, i: number, b: Uint32Array, j: number, width: number, equal: number): boolean {
  for (let k = equal; k < width; k++) {
    const [left, right] = [a[i + k]!, b[j + k]!];
    if (left !== right) return left > right;
  }
  return false;
}

function copyRecord(from: Uint32Array, at: number, to: Uint32Array, place: number, width: number): void {
  for (let k = 0; k < width; k++) to[place + k] = from[at + k]!;
}
