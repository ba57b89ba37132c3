/**
 * What one node has to enforce, in no backend's words: which local pods are isolated, which program of policies applies
 * to each, what each program lets through, and the address sets its rules speak of. All lists are sorted by key, so the
 * same cluster gives the same value whatever order the watch delivered it in.
 */
import type { Direction, Family, Protocol } from '../core/vocabulary.ts';
import type { VersionedMap } from '../core/versioned-map.ts';
import type { PortRange } from '../net/port-range.ts';
import type { Action, PolicyRef, Problem, RuleRef, Tier } from '../policy/model.ts';
import type { AddressDirectory } from './address-directory.ts';

/** The union of one rule's peers within one family, as a set whose membership follows the cluster. */
export interface AddressSet {
  /** Says what the set means (selectors and blocks), never who is in it now; equal meaning, equal key. */
  readonly key: string;
  readonly family: Family;
  /** `addresses`: pods only. `prefixes`: blocks are involved; entries resolve by longest prefix match. `nodes`: nodes only. */
  readonly kind: 'addresses' | 'prefixes' | 'nodes';
  /**
   * Canonical text (an address, or a CIDR for `prefixes`) -> true: in the set, false: carved out (`nomatch`).
   */
  readonly members: VersionedMap<string, boolean>;
}

/** (Address, protocol, number) triples: named ports resolved (S-41), or peers with the ports open to each. */
export interface AddressPortSet {
  readonly key: string;
  readonly family: Family;
  /** `addresses`: of pods. `prefixes`: blocks; for each protocol and number the longest prefix decides. */
  readonly holds: 'addresses' | 'prefixes';
  /** `address,protocolNumber:port`, e.g. `10.0.0.1,6:8080`, or the same with a prefix -> true: in the set, false: carved out. */
  readonly members: VersionedMap<string, boolean>;
}

/** Which ports one clause lets through. */
export type PortClause =
  | { readonly kind: 'any' }
  | { readonly kind: 'ranges'; readonly protocol: Protocol; readonly ranges: readonly PortRange[] }
  /** The address at one end, the protocol and the destination port together must be in the endpoint set. */
  | {
      readonly kind: 'address-port';
      readonly set: Readonly<Record<Family, string>>;
      readonly address: 'source' | 'destination';
    };

/** Which peers one clause lets through, for one family. */
export type PeerClause =
  | { readonly kind: 'any' }
  | { readonly kind: 'none' }
  /** One block without exceptions, and nothing else; canonical text. */
  | { readonly kind: 'block'; readonly cidr: string }
  | { readonly kind: 'set'; readonly key: string };

/** What a stage does with flows that match both ports and peers. */
export interface CompiledRule {
  readonly action: Action;
  /** The policy rules it stands for, in the order of the program's policies and of their rules; never empty. */
  readonly by: readonly RuleRef[];
  readonly ports: PortClause;
  readonly peers: Readonly<Record<Family, PeerClause>>;
}

/** Any of its rules accepts a flow, in any order; one that none of them matches is denied. */
interface UnionStage {
  readonly tier: 'NetworkPolicy';
  readonly order: 'union';
  /** Accept, all of them; no two with the same ports and peers. */
  readonly rules: readonly CompiledRule[];
  readonly otherwise: 'Deny';
}

/** The first of its rules that matches decides (N-61): Pass leaves the flow to the next stage, as do flows that none matches. */
interface FirstMatchStage {
  readonly tier: Tier;
  readonly order: 'first-match';
  readonly rules: readonly CompiledRule[];
  readonly otherwise: 'next';
}

/** What one tier of policies says about a flow. */
export type Stage = UnionStage | FirstMatchStage;

/** The local pods with the same list of applicable policies in one direction share one of these. */
export interface Program {
  readonly key: string;
  readonly direction: Direction;
  /** In the order of its stages; of NetworkPolicy sorted by namespace/name. Never empty. */
  readonly policies: readonly PolicyRef[];
  /** A flow goes through them one by one until one of them decides; one that none decides is allowed. At most one of a tier: Admin, NetworkPolicy, Baseline. */
  readonly stages: readonly Stage[];
  /**
   * Of several audited policies: what each would enforce by itself, in their order. Absent: there is one, or what each would is not counted
   * (limits.ts).
   */
  readonly alone?: readonly Program[];
  /** Present: its policies ask for more than a node can give one namespace. It has no rules and lets nothing through. */
  readonly closed?: OverLimit;
}

/** Which limit (see limits.ts). */
export type OverLimit = 'rules' | 'sets' | 'node-sets' | 'entries' | 'work';

/** A local pod that policies, enforced or only audited, select in at least one direction, or rules of cluster-wide policies. */
export interface LocalEndpoint {
  /** `namespace/name`. */
  readonly pod: string;
  /** The addresses this pod owns (S-73), canonical text. */
  readonly addresses: readonly string[];
  /** Key of its program; absent: nothing is denied to it in that direction. */
  readonly programs: Readonly<Partial<Record<Direction, string>>>;
  /** Key of the program of the policies that are only audited; absent: none select it in that direction. */
  readonly audits: Readonly<Partial<Record<Direction, string>>>;
}

export interface NodeIntent {
  /** Counts up with every intent that differs from the one before it. */
  readonly revision: number;
  readonly nodeName: string;
  readonly endpoints: readonly LocalEndpoint[];
  /** What is enforced: the same as in a cluster without the audited policies. */
  readonly programs: readonly Program[];
  /** What audited policies would enforce, those of a pod together and each alone. Nobody is isolated by it; what it would change is counted. */
  readonly audits: readonly Program[];
  /** Every address that a pod of this node owns, isolated or not -> `namespace/name`. The same object while nothing changed. */
  readonly localAddresses: ReadonlyMap<string, string>;
  readonly addressSets: VersionedMap<string, AddressSet>;
  readonly addressPortSets: VersionedMap<string, AddressPortSet>;
  /**
   * Whose which address is. Says whether an address that left a set belongs to a pod: that can cut flows that must be judged again. Follows
   * pods that concern nothing else here: intents of one revision may have several.
   */
  readonly directory: AddressDirectory;
  /** Policies in the cluster, whether or not they select a local pod. */
  readonly policyCount: number;
  /** Namespaces whose policies are still being compiled: their pods are judged as before. Sorted. */
  readonly waiting: readonly string[];
  readonly problems: readonly Problem[];
}
