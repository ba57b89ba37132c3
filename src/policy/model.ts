/**
 * The vocabulary of the policy stage: what the API objects mean, with the API's defaults already applied.
 * Everything here is immutable data. S- and C-numbers refer to the semantics specification (docs/conformance.md).
 */
import type { Cidr } from '../net/cidr.ts';

import type { Direction, PolicyMode, Protocol } from '../core/vocabulary.ts';
export type Labels = Readonly<Record<string, string>>;

/**
 * Of an object with more labels than are kept. No selector is known to match them but the one of everything; as to whom policies isolate,
 * each may match. The key is none that a label can have, so that these differ from no labels.
 */
export const UNKNOWN_LABELS: Labels = Object.freeze({ '?': '' });

/** The label of each namespace that the API server adds (S-21). */
export const NAMESPACE_NAME_LABEL = 'kubernetes.io/metadata.name';

export interface NamedPort {
  readonly name: string;
  readonly protocol: Protocol;
  readonly port: number;
}

export type PodPhase = 'Pending' | 'Running' | 'Succeeded' | 'Failed' | 'Unknown';

/** The slim record kept of a pod. */
export interface Pod {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  /** Absent until scheduled. */
  readonly nodeName?: string;
  /** `status.podIPs`, falling back to `status.podIP` (S-57), as canonical text (RFC 5952), in the order given. */
  readonly addresses: readonly string[];
  readonly hostNetwork: boolean;
  readonly phase: PodPhase;
  /** `metadata.deletionTimestamp` is set; such a pod still counts fully (S-72). */
  readonly terminating: boolean;
  /** `metadata.creationTimestamp` in milliseconds since the epoch; 0 if absent. */
  readonly createdAtMs: number;
  /**
   * When the status began to show the addresses: one number for all, or one each where they came at different times. Greater is later;
   * in milliseconds since the epoch only where a list told (S-73).
   */
  readonly addressesSince: number | readonly number[];
  readonly labels: Labels;
  /** What its labels take, kept or not; absent if that is not worth counting. */
  readonly labelBytes?: number;
  /** Of `containers` and of sidecar `initContainers` (S-45). */
  readonly namedPorts: readonly NamedPort[];
}

export interface Namespace {
  readonly name: string;
  readonly uid: string;
  /** Always holds `kubernetes.io/metadata.name` (S-21). */
  readonly labels: Labels;
  /** It is being deleted, and so is what is in it (S-78). */
  readonly terminating?: true;
  /** Of its policies that ask for none themselves; absent: they are enforced. */
  readonly mode?: PolicyMode;
}

/** What the agent needs of a Node object. */
export interface NodeRecord {
  readonly name: string;
  readonly addresses: readonly string[];
  /** Value of the annotation `portcullis.dev/mode`, if any, unchecked. */
  readonly modeAnnotation?: string;
  /** Value of the label of that name, the same. */
  readonly modeLabel?: string;
}

export type SelectorOperator = 'In' | 'NotIn' | 'Exists' | 'DoesNotExist';

/** One term of a selector; `matchLabels k: v` is `k In [v]` (S-17). */
export interface Requirement {
  readonly key: string;
  readonly operator: SelectorOperator;
  /** Sorted, without duplicates; empty for Exists and DoesNotExist. */
  readonly values: readonly string[];
}

/** A label selector. `all-of` with no requirement matches everything; `nothing` is a selector that cannot be used (S-19). */
export type Selector =
  | { readonly kind: 'all-of'; readonly requirements: readonly Requirement[] }
  | { readonly kind: 'nothing'; readonly reason: string };

export const EVERYTHING: Selector = { kind: 'all-of', requirements: [] };

export type Peer =
  /** Pods by labels; `namespaces: 'own'` means the policy's namespace (S-24). */
  | { readonly kind: 'pods'; readonly namespaces: Selector | 'own'; readonly pods: Selector }
  /** Addresses in `cidr` and in none of `except` (S-28). Host bits are already cleared (S-29). */
  | { readonly kind: 'ip-block'; readonly cidr: Cidr; readonly except: readonly Cidr[] }
  /** An entry that matches nothing (S-19, S-25, S-31). */
  | { readonly kind: 'nothing'; readonly reason: string };

export type PortMatch =
  /** Destination ports first..last inclusive; 0..65535 means the whole protocol (S-34, S-36, S-37). */
  | { readonly kind: 'range'; readonly protocol: Protocol; readonly first: number; readonly last: number }
  /** A name resolved on each destination pod (S-40). */
  | { readonly kind: 'named'; readonly protocol: Protocol; readonly name: string };

export interface Rule {
  /** 'any': every protocol and port (S-32). An empty list, left when no entry could be used, matches nothing. */
  readonly ports: readonly PortMatch[] | 'any';
  /** 'any': every address, pod or not (S-23). */
  readonly peers: readonly Peer[] | 'any';
}

/** Which pods a policy isolates, and in which directions. */
export interface PolicyHead {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  readonly podSelector: Selector;
  /** The effective policyTypes (S-11, S-12). */
  readonly isolates: { readonly ingress: boolean; readonly egress: boolean };
  /** Absent: that of its namespace. */
  readonly mode?: PolicyMode;
}

/** Where rules are kept as text, each access to `ingress` or `egress` parses them anew: ask once. */
export interface Policy extends PolicyHead {
  /** Empty unless the direction is isolated (S-13). The index is the position in the object's own list. */
  readonly ingress: readonly Rule[];
  readonly egress: readonly Rule[];
  /** `metadata.generation`: counts the changes of its spec; absent where the object has none. */
  readonly generation?: number;
  /** Where rules are kept as text: its length. */
  readonly ruleBytes?: number;
  /** Where rules were too long to be looked at when they came: what is wrong with them. Parses them. */
  ruleProblems?(): readonly Problem[];
}

// ------------------------------------------------------------------------------------------------ cluster-wide policies
// ClusterNetworkPolicy v1alpha2: rules with an action, in order. N-numbers are points of docs/decisions/cluster-wide-policies.md.

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
  /** `metadata.generation`: counts the changes of its spec; absent where the object has none. */
  readonly generation?: number;
  readonly tier: Tier;
  /** The lower one is looked at first (N-11). */
  readonly priority: number;
  /** N-40. */
  readonly subject: { readonly namespaces: Selector; readonly pods: Selector };
  /** In order; the index is the position in the object's own list. */
  readonly ingress: readonly ClusterRule[];
  readonly egress: readonly ClusterRule[];
}

/** A node as rules may select it (N-44). */
export interface LabelledNode {
  readonly name: string;
  /** Canonical text: of `status.addresses` what is an address. */
  readonly addresses: readonly string[];
  readonly labels: Labels;
}

// --------------------------------------------------------------------------------------------------------------------

/** Something wrong with an object, in words for the person who wrote it. */
export interface Problem {
  readonly object: { readonly kind: string; readonly namespace?: string; readonly name: string };
  /** Path inside the object, e.g. `spec.ingress[0].from[1].ipBlock.cidr`. */
  readonly field: string;
  /** What is wrong, and what the agent does about it. */
  readonly message: string;
}

/** A policy with a tier is of the whole cluster: its namespace is empty. */
export interface PolicyRef {
  readonly namespace: string;
  readonly name: string;
  readonly tier?: Tier;
}

export interface RuleRef {
  readonly policy: PolicyRef;
  readonly direction: Direction;
  /** Position in `spec.ingress` or `spec.egress`. */
  readonly index: number;
  /** Of a cluster-wide policy's rule that has one (N-14). */
  readonly name?: string;
}

/** Everything the agent knows of the cluster at one moment. Maps are keyed `namespace/name` (pods, policies) or `name`. */
export interface ClusterSnapshot {
  readonly pods: ReadonlyMap<string, Pod>;
  readonly namespaces: ReadonlyMap<string, Namespace>;
  readonly policies: ReadonlyMap<string, Policy>;
  readonly nodes: ReadonlyMap<string, NodeRecord>;
  /** By name; absent: there are none. */
  readonly clusterPolicies?: ReadonlyMap<string, ClusterPolicy>;
  /** By name, all nodes of the cluster; absent where no rule asks for nodes. */
  readonly labelledNodes?: ReadonlyMap<string, LabelledNode>;
  readonly problems: readonly Problem[];
}

export function objectKey(object: { readonly namespace: string; readonly name: string }): string {
  return `${object.namespace}/${object.name}`;
}

/**
 * One connection attempt as the forward hook sees it: after DNAT, before SNAT (S-51).
 * Addresses are canonical text; pods are found by address (S-73).
 */
export interface Flow {
  readonly source: string;
  readonly destination: string;
  /** IANA protocol number. */
  readonly protocol: number;
  /** Destination port as the destination sees it; ignored for protocols without ports. */
  readonly port: number;
  /** Name of the node on whose host network the connection starts; absent if it starts in a pod or outside (S-60). */
  readonly fromNode?: string;
  /** A pod reaches itself by way of a Service (N-71). */
  readonly viaService?: true;
}

/** `passedBy`: rules of cluster-wide policies that handed the connection on, in order; absent: none. */
export type DirectionVerdict = (
  | { readonly kind: 'exempt'; readonly reason: 'not-a-subject' | 'self' | 'own-node' }
  | { readonly kind: 'not-isolated' }
  | { readonly kind: 'allowed'; readonly by: readonly RuleRef[] }
  | { readonly kind: 'denied'; readonly isolatedBy: readonly PolicyRef[] }
  /** A rule of a cluster-wide policy decided (N-61). */
  | { readonly kind: 'tier-rule'; readonly action: 'Accept' | 'Deny'; readonly by: RuleRef }
) & { readonly passedBy?: readonly RuleRef[] };

export interface Verdict {
  readonly allowed: boolean;
  readonly egress: DirectionVerdict;
  readonly ingress: DirectionVerdict;
  /** The verdict if no policy were only audited; absent where none is. */
  readonly ifEnforced?: Omit<Verdict, 'ifEnforced'>;
}
