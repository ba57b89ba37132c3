/** Which rules of cluster-wide policies concern a pod, in the order in which they are looked at. */
import type { Direction } from '../../core/vocabulary.ts';
import type { ClusterPolicy, Labels, Tier } from '../../policy/model.ts';

import { compareText } from '../../core/compare.ts';
import { bothHold, certainty } from '../../policy/selector.ts';

/** A policy for a pod that is its subject, or may be: its labels or those of its namespace are not known. */
export interface Applied {
  readonly policy: ClusterPolicy;
  readonly inDoubt: boolean;
}

/** What concerns one pod in one direction, by tier. */
export type AppliedTiers = Readonly<Record<Tier, readonly Applied[]>>;

/** N-61: by priority; N-67: of equal priorities by name. */
export function inOrder(policies: Iterable<ClusterPolicy>, tier: Tier): readonly ClusterPolicy[] {
  return [...policies]
    .filter((policy) => policy.tier === tier)
    .sort((a, b) => a.priority - b.priority || compareText(a.name, b.name));
}

/** N-40, N-64: of the policies those with rules in that direction, for a pod with these labels. */
export function appliedTo(
  policies: readonly ClusterPolicy[],
  direction: Direction,
  namespace: Labels | undefined,
  pod: Labels,
): readonly Applied[] {
  return policies.flatMap((policy) => {
    if (policy[direction].length === 0) return [];
    const { namespaces, pods } = policy.subject;
    const isSubject = bothHold(certainty(namespaces, namespace), certainty(pods, pod));
    return isSubject === 'no' ? [] : [{ policy, inDoubt: isSubject === 'maybe' }];
  });
}

export function isSameApplied(a: readonly Applied[], b: readonly Applied[]): boolean {
  return (
    a.length === b.length &&
    a.every(({ policy, inDoubt }, at) => policy === b[at]!.policy && inDoubt === b[at]!.inDoubt)
  );
}
