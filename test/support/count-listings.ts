/** Counts how often large maps are gone through: work that follows a change must not grow with what did not change. */
import { versionedMap } from '../../src/core/versioned-map.ts';

const LISTINGS = ['entries', 'keys', 'values', 'forEach', Symbol.iterator] as const;

type Listable = Record<PropertyKey, (...args: unknown[]) => unknown>;

/** Maps and sets of more than `size` entries that were gone through while `work` ran. */
export async function countListings(size: number, work: () => unknown): Promise<number> {
  let count = 0;
  const restore = [Object.getPrototypeOf(versionedMap()), Map.prototype, Set.prototype].flatMap((prototype: Listable) =>
    LISTINGS.map((name) => {
      const original = prototype[name]!;
      prototype[name] = function (this: ReadonlyMap<string, unknown>, ...args: unknown[]) {
        if (this.size > size) count++;
        return original.apply(this, args);
      };
      return () => (prototype[name] = original);
    }),
  );
  try {
    await work();
  } finally {
    for (const each of restore) each();
  }
  return count;
}
