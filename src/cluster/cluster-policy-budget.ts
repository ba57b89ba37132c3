/**
 * Which cluster-wide policies an agent keeps with their rules, so that a runaway object, or a thousand of them, does not take a node down. No
 * tenant can write these.
 *
 *   one policy over its limit           it fails closed: its Accept rules match nothing, its others deny everything (N-90)
 *   all together over their limit       likewise those that do not fit; what is looked at first is kept first (N-61)
 *
 * The answer depends on the objects alone (tier, priority, name, size). What was dropped and would fit again is missing until the next list.
 */
import type { ClusterPolicy, ClusterRule, Problem } from '../policy/model.ts';
import type { Budget } from './store.ts';

import { compareText } from '../core/compare.ts';
import { EVERYTHING, TIERS } from '../policy/model.ts';
import { bytesText, CLUSTER_POLICY_LIMITS } from './limits.ts';

export type ClusterPolicyLimits = Readonly<Record<keyof typeof CLUSTER_POLICY_LIMITS, number>>;

/** A list costs every agent and the API server. */
const MIN_LIST_GAP_MS = 60_000;
/** The first ones tell the story. */
const MAX_PROBLEMS = 50;

interface Entry {
  /** As it is kept. */
  readonly policy: ClusterPolicy;
  /** Of what arrived, as JSON. */
  readonly bytes: number;
  readonly isClosed: boolean;
}

type Changes = Map<string, ClusterPolicy | undefined>;

export class ClusterPolicyBudget implements Budget<ClusterPolicy> {
  readonly #limits: ClusterPolicyLimits;
  readonly #entries = new Map<string, Entry>();
  /** Of those that are within the limit of one, kept or not. */
  #bytes = 0;
  #closed = 0;
  #problems: readonly Problem[] = [];
  #listedAtMs = Number.NEGATIVE_INFINITY;

  constructor(limits: ClusterPolicyLimits = CLUSTER_POLICY_LIMITS) {
    this.#limits = limits;
  }

  settle(key: string, _before: ClusterPolicy | undefined, after: ClusterPolicy | undefined): Changes {
    const known = this.#entries.get(key);
    if (known) this.#forget(key, known);
    const changes: Changes = new Map([[key, undefined]]);
    if (after) {
      const bytes = bytesOf(after);
      const isClosed = bytes > this.#limits.ofPolicy;
      this.#remember(key, { policy: isClosed ? closed(after) : after, bytes, isClosed });
      changes.set(key, this.#entries.get(key)!.policy);
    }
    this.#fit(changes);
    if (this.#closed > 0 || this.#problems.length > 0) this.#problems = this.#told();
    return changes;
  }

  beginList(): void {}

  endList(nowMs: number): Changes {
    this.#listedAtMs = nowMs;
    return new Map();
  }

  isOwn(): boolean {
    return false;
  }

  wantsList(nowMs: number): boolean {
    if (this.#closed === 0 || nowMs - this.#listedAtMs < MIN_LIST_GAP_MS) return false;
    const fitting = this.#fitting();
    return [...this.#entries].some(([key, { isClosed }]) => isClosed && fitting.has(key));
  }

  get problems(): readonly Problem[] {
    return this.#problems;
  }

  #remember(key: string, entry: Entry): void {
    this.#entries.set(key, entry);
    if (entry.isClosed) this.#closed++;
    if (entry.bytes <= this.#limits.ofPolicy) this.#bytes += entry.bytes;
  }

  #forget(key: string, { bytes, isClosed }: Entry): void {
    this.#entries.delete(key);
    if (isClosed) this.#closed--;
    if (bytes <= this.#limits.ofPolicy) this.#bytes -= bytes;
  }

  /** Closes what does not fit. */
  #fit(changes: Changes): void {
    if (this.#bytes <= this.#limits.inAll) return;
    const fitting = this.#fitting();
    for (const [key, entry] of this.#entries) {
      if (entry.isClosed || fitting.has(key)) continue;
      this.#forget(key, entry);
      this.#remember(key, { policy: closed(entry.policy), bytes: entry.bytes, isClosed: true });
      changes.set(key, this.#entries.get(key)!.policy);
    }
  }

  /** What is looked at first comes first; one that does not fit is passed over. */
  #fitting(): ReadonlySet<string> {
    const found = new Set<string>();
    let left = this.#limits.inAll;
    for (const [key, { bytes }] of [...this.#entries].sort(([, a], [, b]) => compareOrder(a.policy, b.policy))) {
      if (bytes > this.#limits.ofPolicy || bytes > left) continue;
      left -= bytes;
      found.add(key);
    }
    return found;
  }

  #told(): readonly Problem[] {
    const { ofPolicy, inAll } = this.#limits;
    const all = [...this.#entries.values()]
      .filter(({ isClosed }) => isClosed)
      .sort((a, b) => compareText(a.policy.name, b.policy.name));
    const named = all.slice(0, MAX_PROBLEMS).map(({ policy: { name }, bytes }): Problem => {
      const over =
        bytes > ofPolicy
          ? `more than the ${bytesText(ofPolicy)} that an agent keeps of one`
          : `which do not fit into the ${bytesText(inAll)} that an agent keeps of all: what is looked at first is kept first`;
      const message = `has ${bytesText(bytes)} of rules, ${over}. Its Accept rules match nothing, and its others deny everything`;
      return { object: { kind: 'ClusterNetworkPolicy', name }, field: 'spec', message };
    });
    const more = all.length - named.length;
    if (more > 0) named.push({ ...named.at(-1)!, message: `and ${more} more do not fit, which fail closed as well` });
    return named;
  }
}

function bytesOf({ subject, ingress, egress }: ClusterPolicy): number {
  return JSON.stringify([subject, ingress, egress]).length;
}

/** N-61, N-67. */
function compareOrder(a: ClusterPolicy, b: ClusterPolicy): number {
  return TIERS.indexOf(a.tier) - TIERS.indexOf(b.tier) || a.priority - b.priority || compareText(a.name, b.name);
}

const MATCHES_NOTHING: ClusterRule = { action: 'Accept', ports: [], peers: [] };
const DENIES_EVERYTHING: ClusterRule = { action: 'Deny', ports: 'any', peers: 'any' };
/** Longer than people write; such a subject is every pod. */
const MAX_SUBJECT_BYTES = 4096;

/** N-90, of each rule. Behind the first that denies everything no other is reached; the index of that one stays. */
function closed(policy: ClusterPolicy): ClusterPolicy {
  const rulesOf = (rules: readonly ClusterRule[]): readonly ClusterRule[] => {
    const first = rules.findIndex(({ action }) => action !== 'Accept');
    if (first < 0) return [];
    return [...Array.from({ length: first }, () => MATCHES_NOTHING), DENIES_EVERYTHING];
  };
  const isLong = JSON.stringify(policy.subject).length > MAX_SUBJECT_BYTES;
  return {
    ...policy,
    subject: isLong ? { namespaces: EVERYTHING, pods: EVERYTHING } : policy.subject,
    ingress: rulesOf(policy.ingress),
    egress: rulesOf(policy.egress),
  };
}
