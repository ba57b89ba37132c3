/** Programs by their stages. */
import type { Tier } from '../policy/model.ts';
import type { CompiledRule, Program, Stage } from './intent.ts';

/** The stage of NetworkPolicy: what its policies' rules accept together, and nothing else (S-04). */
export function networkPolicyStage(rules: readonly CompiledRule[]): Stage {
  return { tier: 'NetworkPolicy', order: 'union', rules, otherwise: 'Deny' };
}

/** The ordered rules of a tier of cluster-wide policies (N-61). */
export function tierStage(tier: Tier, rules: readonly CompiledRule[]): Stage {
  return { tier, order: 'first-match', rules, otherwise: 'next' };
}

/** All rules of the program, stage by stage. */
export function rulesOf({ stages }: Pick<Program, 'stages'>): readonly CompiledRule[] {
  return stages.flatMap(({ rules }) => rules);
}

/** What NetworkPolicies of the program accept. */
export function acceptRules({ stages }: Pick<Program, 'stages'>): readonly CompiledRule[] {
  return stages.flatMap((stage) => (stage.order === 'union' ? stage.rules : []));
}

/** NetworkPolicies isolate its pods: whatever comes as far as their stage and is not accepted there is denied (N-65). */
export function isolates({ stages }: Pick<Program, 'stages'>): boolean {
  return stages.some(({ order }) => order === 'union');
}

/** Cluster-wide policies have a say in it. */
export function hasTiers({ stages }: Pick<Program, 'stages'>): boolean {
  return stages.some(({ order }) => order === 'first-match');
}
