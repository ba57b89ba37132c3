/**
 * What one namespace may ask of a node. Its owner decides how many policies there are and what they say; rules that can share are put
 * together first (shared-peers.ts), so that these limits are far from what people write. A program over one of them is closed: its pods
 * are isolated and nothing is allowed, and a Problem names its policies. What fits is decided smallest first, so it depends on the
 * policies and on the local pods alone, never on the order of events.
 */

/**
 * Of an endpoint chain and family. A packet walks them one by one, 4 to 30 ns each, and each is written four times: for both families and
 * for answers. 512 rules are 7,680 single ports for everybody.
 */
const MAX_PROGRAM_RULES = 512;

/** Of both families. What it costs to make one grows with their number on the host. */
const MAX_NAMESPACE_SETS = 2000;

/**
 * Of all namespaces of a node together; a set that several of them use counts for each. Above it the limit of a namespace is halved until
 * all fit. What is left of ipset's numbers is for sets that are being replaced, and for others' sets.
 */
const MAX_NODE_SETS = 40_000;

/** Of all its endpoint chains in one family. A commit of so many takes some 300 ms, and others wait for it. */
const MAX_NAMESPACE_RULES = 8192;

/** Of all its sets. An entry takes some 100 bytes of the agent and 40 of the kernel. */
const MAX_NAMESPACE_ENTRIES = 300_000;

/** Selections of pods, times the groups of pods of equal labels that each is compared with: 30 to 50 ns each. */
const MAX_NAMESPACE_COMPARISONS = 20_000_000;

/**
 * Bytes of rules, counted once for each program of local pods and direction they apply to: what an edit may have to compile anew. 100
 * programs of 300 kB; all the rules that a namespace may have (cluster/limits.ts) for four programs.
 */
const MAX_NAMESPACE_WORK = 32 * 1024 * 1024;

/**
 * Of tiers of cluster-wide policies, in all programs of a node together, in one family. They are nobody's but the cluster's own people's, but a
 * runaway object must not take the node down: 250 different programs under 600 rules each.
 */
const MAX_TIER_RULES = 150_000;

export interface NamespaceLimits {
  readonly programRules: number;
  readonly rules: number;
  readonly sets: number;
  /** Of all namespaces together. */
  readonly nodeSets: number;
  readonly entries: number;
  readonly comparisons: number;
  readonly work: number;
  /** Of cluster-wide policies, of the whole node. */
  readonly tierRules: number;
}

/** Audited policies have so much of each limit besides, so that what enforced ones get does not depend on them. */
const AUDIT_SHARE = 1 / 8;

/** Audited policies of a pod and direction of which each is counted by itself. Each is asked about the first packet of every connection. */
export const MAX_AUDITED_ALONE = 8;

export function auditLimits(limits: NamespaceLimits): NamespaceLimits {
  const share = (limit: number): number => Math.ceil(limit * AUDIT_SHARE);
  return {
    ...limits,
    rules: share(limits.rules),
    sets: share(limits.sets),
    entries: share(limits.entries),
    comparisons: share(limits.comparisons),
    work: share(limits.work),
  };
}

export const NAMESPACE_LIMITS: NamespaceLimits = {
  programRules: MAX_PROGRAM_RULES,
  rules: MAX_NAMESPACE_RULES,
  sets: MAX_NAMESPACE_SETS,
  nodeSets: MAX_NODE_SETS,
  entries: MAX_NAMESPACE_ENTRIES,
  comparisons: MAX_NAMESPACE_COMPARISONS,
  work: MAX_NAMESPACE_WORK,
  tierRules: MAX_TIER_RULES,
};
