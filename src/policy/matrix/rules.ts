/** What rules of all policies name, NetworkPolicies and cluster-wide ones alike. */
import type { ClusterPeer, ClusterSnapshot, PortMatch } from '../model.ts';

export type PolicyRules = Pick<ClusterSnapshot, 'policies' | 'clusterPolicies'>;

/** What a NetworkPolicy's rule and a cluster-wide policy's have in common. */
interface AnyRule {
  readonly ports: readonly PortMatch[] | 'any';
  readonly peers: readonly ClusterPeer[] | 'any';
}

export function rulesOf({ policies, clusterPolicies }: PolicyRules): AnyRule[] {
  const all = [...policies.values(), ...(clusterPolicies?.values() ?? [])];
  return all.flatMap(({ ingress, egress }): readonly AnyRule[] => [...ingress, ...egress]);
}

/** Without those of rules for everybody. */
export function peersOf(rules: readonly AnyRule[]): ClusterPeer[] {
  return rules.flatMap(({ peers }) => (peers === 'any' ? [] : peers));
}

/** Without those of rules for every port. */
export function portMatchesOf(rules: readonly AnyRule[]): PortMatch[] {
  return rules.flatMap(({ ports }) => (ports === 'any' ? [] : ports));
}
