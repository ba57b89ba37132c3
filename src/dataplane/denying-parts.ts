/** The parts of an endpoint chain in which packets end that tiers deny: one for the rules of the same policies, so that each counts for its own. */
import type { PolicyRef, RuleRef } from '../policy/model.ts';

/** More policies than these in one chain are denied for by one part. */
const MAX_DENYING_PARTS = 16;

/** Where packets end that rules of the same policies deny. */
export interface Denying {
  readonly policies: readonly PolicyRef[];
  readonly by: readonly RuleRef[];
}

/** By number, in the order in which rules ask for them; the last one takes all that are too many. */
export class DenyingParts {
  readonly #numbers = new Map<string, number>();
  readonly #parts: { readonly policies: Map<string, PolicyRef>; readonly by: RuleRef[] }[] = [];

  /** `by`: of a rule that denies. */
  numberOf(by: readonly RuleRef[]): number {
    const policies = new Map(by.map(({ policy }) => [policy.name, policy]));
    const key = JSON.stringify([...policies.keys()]);
    const number = this.#numbers.get(key) ?? Math.min(this.#parts.length, MAX_DENYING_PARTS - 1);
    this.#numbers.set(key, number);
    const part = this.#parts[number] ?? { policies: new Map<string, PolicyRef>(), by: [] };
    this.#parts[number] = part;
    for (const [name, policy] of policies) part.policies.set(name, policy);
    for (const ref of by) part.by.push(ref);
    return number;
  }

  all(): readonly Denying[] {
    return this.#parts.map(({ policies, by }) => ({ policies: [...policies.values()], by }));
  }
}
