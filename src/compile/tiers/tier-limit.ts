/** What becomes of programs whose tiers have more rules than a node can take: they fail closed, as what is not understood does (N-90). */
import type { Problem, RuleRef } from '../../policy/model.ts';
import type { CompiledRule, Program } from '../intent.ts';

import { compareText } from '../../core/compare.ts';
import { tierStage } from '../program.ts';
import { ANY_PEER } from '../program-compiler.ts';

/** Policies in one Problem. */
const MAX_NAMED = 20;

/** Those beyond the limit: the smallest fit first, so it depends on policies and local pods alone. */
export function overLimit(programs: Iterable<Program>, most: number): readonly Program[] {
  const sized = [...programs].map((program) => ({ program, size: tierRules(program).length }));
  let left = most;
  const sorted = sized.sort((a, b) => a.size - b.size || compareText(a.program.key, b.program.key));
  return sorted.flatMap(({ program, size }) => {
    left -= size;
    return left < 0 ? [program] : [];
  });
}

function tierRules({ stages }: Program): readonly CompiledRule[] {
  return stages.flatMap((stage) => (stage.order === 'first-match' ? stage.rules : []));
}

/** Denied is everything, by the first rule of its tiers that denies or passes; by the first at all where all accept. */
export function failedClosed(program: Program): Program {
  const rules = tierRules(program);
  const { by } = rules.find(({ action }) => action !== 'Accept') ?? rules[0]!;
  const deny: CompiledRule = { action: 'Deny', by: by.slice(0, 1), ports: { kind: 'any' }, peers: ANY_PEER };
  return { ...program, stages: [tierStage(by[0]!.policy.tier ?? 'Admin', [deny])] };
}

/** The policies with most of the rules are named. */
export function tooManyRules(over: readonly Program[], most: number): readonly Problem[] {
  const counts = new Map<string, number>();
  for (const { policy } of over.flatMap((program) => tierRules(program)).flatMap(({ by }): readonly RuleRef[] => by))
    counts.set(policy.name, (counts.get(policy.name) ?? 0) + 1);
  return [...counts]
    .sort(([a, one], [b, other]) => other - one || compareText(a, b))
    .slice(0, MAX_NAMED)
    .map(([name]) => ({
      object: { kind: 'ClusterNetworkPolicy', name },
      field: 'spec',
      message: `its rules and those of others for the same pods are more than the ${most} that a node takes in all: pods under them are denied everything, those with fewest rules last`,
    }));
}
