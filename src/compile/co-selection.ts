/** Which policies are co-selected on this node: in the same programs, and so for the same local pods. */
import type { Policy } from '../policy/model.ts';

/** Is told the policies of every program of one direction, then asked. */
export class CoSelection {
  /** Equal numbers: in the same programs so far. */
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

  /** For each policy of a program, the place in it of the first that is co-selected with it. */
  groupsOf(policies: readonly Policy[]): readonly number[] {
    const first = new Map<number | undefined, number>();
    return policies.map((policy, place) => {
      const group = this.#groups.get(policy);
      const known = first.get(group);
      if (known === undefined) first.set(group, place);
      return known ?? place;
    });
  }
}
