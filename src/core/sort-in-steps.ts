/** Sorting in pieces: `Array.sort` of 50,000 elements takes as long as others may have to wait. */
import type { Sliced } from './sliced.ts';

/** Sorted at once. */
const PIECE = 1_024;

/** The elements in order; those that are equal stay in the order in which they came. */
export function* sortedInSteps<T>(elements: Iterable<T>, compare: (a: T, b: T) => number): Sliced<T[]> {
  let runs: T[][] = [];
  let piece: T[] = [];
  for (const element of elements) {
    if (piece.length === PIECE) {
      runs.push(piece.sort(compare));
      piece = [];
      yield;
    }
    piece.push(element);
  }
  runs.push(piece.sort(compare));
  while (runs.length > 1) {
    const merged: T[][] = [];
    for (let at = 0; at < runs.length; at += 2) {
      const [one, other] = [runs[at]!, runs[at + 1]];
      merged.push(other ? yield* merge(one, other, compare) : one);
    }
    runs = merged;
  }
  return runs[0]!;
}

function* merge<T>(one: readonly T[], other: readonly T[], compare: (a: T, b: T) => number): Sliced<T[]> {
  const merged: T[] = [];
  for (let [at, next] = [0, 0]; at < one.length || next < other.length; ) {
    const isOne = next === other.length || (at < one.length && compare(one[at]!, other[next]!) <= 0);
    merged.push(isOne ? one[at++]! : other[next++]!);
    if (merged.length % PIECE === 0) yield;
  }
  return merged;
}
