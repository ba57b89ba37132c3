/** Which policies occur together on this node: in the same classes, and so for the same local pods. */
import type { Policy } from '../policy/model.ts';

/** Is told the policies of every class of one direction, then asked. */
export class Occurrences {
  /** Equal numbers: in the same classes so far. */
  readonly #groups = new Map<Policy, number>();
  #next = 0;

  add(policies: readonly Policy[]): void {
    const parted = new Map<number | undefined, number>();
    for (const policy of policies) {
      const before = this.#groups.get(policy);
      const group = parted.get(before) ?? this.#next++;
      parted.set(before, group);
      this.#groups.set(policy, group);
    }
  }

  /** For each policy of a class, the place in it of the first that occurs together with it. */
  together(policies: readonly Policy[]): readonly number[] {
    const first = new Map<number | undefined, number>();
    return policies.map((policy, place) => {
      const group = this.#groups.get(policy);
      const known = first.get(group);
      if (known === undefined) first.set(group, place);
      return known ?? place;
    });
  }
}
