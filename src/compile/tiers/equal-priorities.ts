/** Policies of one tier and priority for the same pods: which of them is looked at first, the API does not say (N-67). */
import type { ClusterPolicy, Problem } from '../../policy/model.ts';
import type { AppliedTiers } from './tier-order.ts';

import { Groups } from '../../core/groups.ts';
import { compareText } from '../../core/compare.ts';
import { TIERS } from '../../policy/model.ts';

/** Names in one Problem. */
const MAX_NAMES = 3;

/** One for each policy that comes behind another of its priority somewhere on this node. Sorted by name. */
export function equalPriorities(all: Iterable<AppliedTiers>): readonly Problem[] {
  const ahead = new Groups<ClusterPolicy, string>();
  for (const applied of all)
    for (const tier of TIERS)
      for (const [at, { policy }] of applied[tier].entries()) {
        const before = applied[tier][at - 1]?.policy;
        if (before?.priority === policy.priority) ahead.add(policy, before.name);
      }
  const sorted = [...ahead].sort(([a], [b]) => compareText(a.name, b.name));
  return sorted.map(([policy, names]) => problemOf(policy, [...names].sort()));
}

function problemOf({ name, tier, priority }: ClusterPolicy, others: readonly string[]): Problem {
  const named = others.slice(0, MAX_NAMES).join(', ') + (others.length > MAX_NAMES ? ' and others' : '');
  return {
    object: { kind: 'ClusterNetworkPolicy', name },
    field: 'spec.priority',
    message: `is ${priority}, as that of ${named} in tier ${tier} for some of the same pods: which is looked at first is not defined; here it is the one whose name sorts first. Give them different priorities`,
  };
}
