/** Objects of one namespace, oldest first. The server sets the creation time, so what is added comes last; among equals names decide. */

interface Aged {
  readonly name: string;
  readonly createdAtMs: number;
}

export function isOlder(one: Aged, other: Aged): boolean {
  return one.createdAtMs === other.createdAtMs ? one.name < other.name : one.createdAtMs < other.createdAtMs;
}

/** Where the object is in a list that is sorted so, or belongs. */
export function placeByAge(sorted: readonly Aged[], object: Aged): number {
  let [low, high] = [0, sorted.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (isOlder(sorted[middle]!, object)) low = middle + 1;
    else high = middle;
  }
  return low;
}
