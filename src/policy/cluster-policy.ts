/**
 * The vocabulary of ClusterNetworkPolicy v1alpha2, in the shapes of NetworkPolicy (model.ts): rules with an action, in order. N-numbers
 * are the points of docs/decisions/cluster-wide-policies.md.
 */
import type { Peer, PortMatch, Selector } from './model.ts';

export const TIERS = ['Admin', 'Baseline'] as const;
export type Tier = (typeof TIERS)[number];

export const ACTIONS = ['Accept', 'Deny', 'Pass'] as const;
export type Action = (typeof ACTIONS)[number];

/** N-41, N-44, N-45: `pods` never says `own`, `ip-block` has no exceptions. */
export type ClusterPeer =
  | Peer
  /** Addresses of the nodes with these labels. */
  | { readonly kind: 'nodes'; readonly nodes: Selector };

export interface ClusterRule {
  /** Of a rule that has one: for messages, not unique (N-14). */
  readonly name?: string;
  readonly action: Action;
  readonly ports: readonly PortMatch[] | 'any';
  /** 'any' only where a rule that cannot be understood denies everything (N-90). */
  readonly peers: readonly ClusterPeer[] | 'any';
}

export interface ClusterPolicy {
  readonly name: string;
  readonly uid: string;
  readonly tier: Tier;
  /** The lower one is looked at first (N-11). */
  readonly priority: number;
  /** N-40. */
  readonly subject: { readonly namespaces: Selector; readonly pods: Selector };
  /** In order; the index is the position in the object's own list. */
  readonly ingress: readonly ClusterRule[];
  readonly egress: readonly ClusterRule[];
}
