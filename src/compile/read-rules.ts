/** The rules of policies that concern this node. Policies may keep their rules as text: each is read once, not at every look. */
import type { Direction } from '../core/vocabulary.ts';
import type { Policy, Problem, Rule } from '../policy/model.ts';

/** Rules longer than this, as text, are read anew for every program: as objects they take ten times as much. */
const MAX_REMEMBERED_BYTES = 64 * 1024;

type ReadRules = Readonly<Record<Direction, readonly Rule[]>>;

export class RuleReader {
  readonly #known = new Map<Policy, ReadRules>();
  readonly #looked = new Set<Policy>();
  /** Policies that may be of no use. */
  readonly #doubtful = new Set<Policy>();
  /** Of those that have any. */
  readonly #problems = new Map<Policy, readonly Problem[]>();

  read(policy: Policy): ReadRules {
    const known = this.#known.get(policy);
    if (known) return known;
    const rules = { ingress: policy.ingress, egress: policy.egress };
    this.#doubtful.add(policy);
    if ((policy.ruleBytes ?? 0) <= MAX_REMEMBERED_BYTES) this.#known.set(policy, rules);
    if (policy.ruleProblems && !this.#looked.has(policy)) this.#lookAt(policy, policy.ruleProblems());
    return rules;
  }

  #lookAt(policy: Policy, problems: readonly Problem[]): void {
    this.#looked.add(policy);
    if (problems.length > 0) this.#problems.set(policy, problems);
  }

  /** Of whether it is used it can be asked again. */
  released(policy: Policy): void {
    this.#doubtful.add(policy);
  }

  /** Forgets what was read since the last time, or was released, of policies that nobody uses. */
  forgetUnused(isUsed: (policy: Policy) => boolean): void {
    for (const policy of this.#doubtful) {
      if (isUsed(policy)) continue;
      this.#known.delete(policy);
      this.#looked.delete(policy);
      this.#problems.delete(policy);
    }
    this.#doubtful.clear();
  }

  /** What is wrong with rules that were not looked at before they concerned this node. */
  problems(): readonly Problem[] {
    return [...this.#problems.values()].flat();
  }
}
