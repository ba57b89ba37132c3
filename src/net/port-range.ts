/** Ranges of ports 0..65535. */

/** Ports `first`..`last` inclusive. */
export interface PortRange {
  readonly first: number;
  readonly last: number;
}

/** The same ports as the fewest ranges: ascending, neither overlapping nor touching. Ranges with first > last hold nothing. */
export function mergePortRanges(ranges: readonly PortRange[]): readonly PortRange[] {
  const merged: PortRange[] = [];
  for (const range of ranges.filter(holdsPorts).toSorted((a, b) => a.first - b.first)) {
    const previous = merged.at(-1);
    if (previous === undefined || range.first > previous.last + 1) merged.push(range);
    else if (range.last > previous.last) merged[merged.length - 1] = { first: previous.first, last: range.last };
  }
  return merged.map(({ first, last }) => ({ first, last }));
}

function holdsPorts(range: PortRange): boolean {
  return range.first <= range.last;
}
