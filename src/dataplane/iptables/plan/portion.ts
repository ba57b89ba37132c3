/**
 * How much of the sets that no rule refers to yet is filled in one sync. While a set is filled nothing else can be done, and a namespace
 * can ask for hundreds of thousands of entries: they go in over several syncs, with what others changed in between. Policy groups that ask
 * about a set that is not full stay on the chain they have, or are closed (effective-targets.ts).
 */

/** A set to fill, and how many entries it lacks. */
export interface ToFill {
  readonly name: string;
  readonly missing: number;
  /** A part of it is in the kernel. */
  readonly isBegun: boolean;
}

/** About 150 ms of `ipset restore`. */
export const ENTRIES_PER_SYNC = 40_000;
/** So much of it, at most, is for sets that are begun: these must come to an end, whatever else is asked for. */
const SHARE_OF_BEGUN = 0.5;
/** What the first that does not fit gets at least: each sync comes nearer to the end. */
const LEAST = 0.05;

/** Entries for each, by name; what is not there gets none. The smallest first, so that what others need does not wait for one that is huge. */
export function portionsOf(sets: readonly ToFill[], most: number): ReadonlyMap<string, number> {
  const portions = new Map<string, number>();
  const total = sets.reduce((sum, { missing }) => sum + missing, 0);
  if (total <= most) return new Map(sets.map(({ name, missing }) => [name, missing]));
  let left = most;
  const give = (set: ToFill, limit: number): void => {
    const given = Math.min(set.missing, Math.ceil(limit));
    if (given <= 0) return;
    portions.set(set.name, given);
    left -= given;
  };
  const smallest = sets.toSorted((a, b) => a.missing - b.missing || (a.name < b.name ? -1 : 1));
  const [begun] = smallest.filter(({ isBegun }) => isBegun);
  if (begun) give(begun, most * SHARE_OF_BEGUN);
  for (const set of smallest) {
    if (portions.has(set.name)) continue;
    if (set.missing > left) {
      give(set, Math.max(left, most * LEAST));
      break;
    }
    give(set, left);
  }
  return portions;
}
