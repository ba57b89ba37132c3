/**
 * The reference evaluator with cluster-wide policies: tier Admin, NetworkPolicy, tier Baseline, point by point (N-40 to N-73). Slow and obvious on
 * purpose, as evaluate.ts, and it shares nothing with the compiler.
 *
 * Where labels or the owner of an address are not known, a rule only may match: one that accepts then does not, and one that denies or passes
 * denies, as one that is not understood does (N-90).
 */
import type { Direction } from '../core/vocabulary.ts';

import { cidrContains } from '../net/cidr.ts';
import { addressOwners, claimantsOf } from './address-owners.ts';
import {
  type AddressOwners,
  type Connection,
  connectionOf,
  isolationsOf,
  judgeDirection,
  letsPass,
  type OtherEnd,
  otherEnd,
  portMatches,
} from './evaluate.ts';
import {
  type ClusterPeer,
  type ClusterRule,
  type ClusterSnapshot,
  type DirectionVerdict,
  type Flow,
  type Pod,
  type PortMatch,
  type Selector,
  type Tier,
  TIERS,
} from './model.ts';
import { bothHold, type Certainty, certainty } from './selector.ts';

export interface TieredFlow extends Flow {
  /** A pod reached itself by way of a Service (N-71). */
  readonly viaService?: true;
}

/** A rule as people are told of it. */
export interface ClusterRuleRef {
  readonly tier: Tier;
  readonly policy: string;
  readonly direction: Direction;
  readonly index: number;
  readonly name?: string;
}

/** `passedBy`: rules that handed the connection on, in order. */
export type TieredVerdict =
  | { readonly kind: 'accepted' | 'denied'; readonly by: ClusterRuleRef; readonly passedBy: readonly ClusterRuleRef[] }
  /** NetworkPolicy decided, or nothing did: exempt, or not isolated and without a matching Baseline rule. */
  | {
      readonly kind: 'network-policy';
      readonly verdict: DirectionVerdict;
      readonly passedBy: readonly ClusterRuleRef[];
    };

export interface TieredVerdicts {
  readonly allowed: boolean;
  readonly egress: TieredVerdict;
  readonly ingress: TieredVerdict;
}

/** For many flows over one snapshot, which must not change meanwhile. */
export function createTieredEvaluator(snapshot: ClusterSnapshot): { evaluate(flow: TieredFlow): TieredVerdicts } {
  const owners: AddressOwners = addressOwners(snapshot.pods.values());
  return {
    evaluate(flow) {
      const connection = connectionOf(owners, flow);
      const egress = judgeTiers(snapshot, 'egress', connection, flow);
      const ingress = judgeTiers(snapshot, 'ingress', connection, flow);
      // N-66: neither side overrides the other.
      return { allowed: isAllowed(egress) && isAllowed(ingress), egress, ingress };
    },
  };
}

export function isAllowed(verdict: TieredVerdict): boolean {
  return verdict.kind === 'network-policy' ? letsPass(verdict.verdict) : verdict.kind === 'accepted';
}

function judgeTiers(
  snapshot: ClusterSnapshot,
  direction: Direction,
  connection: Connection,
  flow: TieredFlow,
): TieredVerdict {
  const verdict = judgeDirection(snapshot, direction, connection);
  const subjects = subjectsOf(direction, connection);
  const isOwnService = flow.viaService === true && verdict.kind === 'exempt' && verdict.reason === 'self';
  // N-72 and N-40: what is exempt from NetworkPolicy is from these, but for a pod that reaches itself through a Service (N-71).
  if (subjects.length === 0 || (verdict.kind === 'exempt' && !isOwnService))
    return { kind: 'network-policy', verdict, passedBy: [] };
  const isIsolated =
    verdict.kind === 'exempt'
      ? isolationsOf(snapshot, direction, connection).length > 0
      : verdict.kind !== 'not-isolated';
  const lists = subjects.map((subject) => TIERS.map((tier) => rulesFor(snapshot, tier, direction, subject)));
  const [admin = [], baseline = []] = lists[0]!;
  // As S-73: where several pods claim the address and are not subjects of the same rules, nothing is allowed but the way to itself.
  if (!lists.every((list) => isSameList(list, lists[0]!)))
    return isOwnService
      ? { kind: 'network-policy', verdict, passedBy: [] }
      : decided('Deny', lists.flat(2)[0]!.ref, []);
  const first = outcome(admin, snapshot, connection);
  if (first.action !== undefined) return decided(first.action, first.by, []);
  // N-65: where NetworkPolicy isolates, its answer is final.
  if (isIsolated) return { kind: 'network-policy', verdict, passedBy: first.passedBy };
  const last = outcome(baseline, snapshot, connection);
  const passedBy = [...first.passedBy, ...last.passedBy];
  if (last.action === undefined) return { kind: 'network-policy', verdict, passedBy };
  return decided(last.action, last.by, passedBy);
}

type Lists = readonly (readonly OrderedRule[])[];

function isSameList(one: Lists, other: Lists): boolean {
  const text = (lists: Lists): string => JSON.stringify(lists.flat().map(({ ref, concerns }) => [ref, concerns]));
  return text(one) === text(other);
}

function decided(action: 'Accept' | 'Deny', by: ClusterRuleRef, passedBy: readonly ClusterRuleRef[]): TieredVerdict {
  return { kind: action === 'Accept' ? 'accepted' : 'denied', by, passedBy };
}

/** N-40: pods that own the address and are on a node; those of the host network own none. */
function subjectsOf(direction: Direction, { sourcePod, destinationPod }: Connection): readonly Pod[] {
  return claimantsOf(direction === 'egress' ? sourcePod : destinationPod).filter(
    ({ nodeName }) => nodeName !== undefined,
  );
}

interface OrderedRule {
  readonly ref: ClusterRuleRef;
  readonly rule: ClusterRule;
  /** Whether the pod is a subject of its policy. */
  readonly concerns: Certainty;
}

/** N-61: in order of priority, then of the list; N-67: of equal priorities in order of name. */
function rulesFor(snapshot: ClusterSnapshot, tier: Tier, direction: Direction, subject: Pod): readonly OrderedRule[] {
  return [...(snapshot.clusterPolicies?.values() ?? [])]
    .filter((policy) => policy.tier === tier)
    .sort((a, b) => a.priority - b.priority || (a.name < b.name ? -1 : 1))
    .flatMap((policy) => {
      const concerns = selectsPod(snapshot, policy.subject.namespaces, policy.subject.pods, subject);
      if (concerns === 'no') return [];
      return policy[direction].map((rule, index): OrderedRule => {
        const named = rule.name === undefined ? {} : { name: rule.name };
        return { rule, concerns, ref: { tier, policy: policy.name, direction, index, ...named } };
      });
    });
}

/** What a tier says; `action` undefined: the next one is asked (N-63, N-64). */
type Outcome =
  | { readonly action: 'Accept' | 'Deny'; readonly by: ClusterRuleRef; readonly passedBy: readonly [] }
  | { readonly action: undefined; readonly passedBy: readonly ClusterRuleRef[] };

/** N-61: of the first rule that matches; N-90, N-93: in doubt nothing is accepted or passed. */
function outcome(rules: readonly OrderedRule[], snapshot: ClusterSnapshot, connection: Connection): Outcome {
  for (const { ref, rule, concerns } of rules) {
    const certainty = bothHold(concerns, ruleMatches(snapshot, rule, ref.direction, connection));
    if (certainty === 'no' || (certainty === 'maybe' && rule.action === 'Accept')) continue;
    if (certainty === 'maybe') return { action: 'Deny', by: ref, passedBy: [] };
    return outcomeOf(rule.action, ref);
  }
  return { action: undefined, passedBy: [] };
}

/** N-62, N-63. */
function outcomeOf(action: ClusterRule['action'], ref: ClusterRuleRef): Outcome {
  return action === 'Pass' ? { action: undefined, passedBy: [ref] } : { action, by: ref, passedBy: [] };
}

/** N-50, N-56. */
function ruleMatches(
  snapshot: ClusterSnapshot,
  rule: ClusterRule,
  direction: Direction,
  connection: Connection,
): Certainty {
  const { ports, peers } = rule;
  const end = otherEnd(direction, connection);
  const text = direction === 'ingress' ? connection.flow.source : connection.flow.destination;
  const pairs = (peers === 'any' ? [undefined] : peers).flatMap((peer) =>
    (ports === 'any' ? [undefined] : ports).map((port) =>
      bothHold(
        peer === undefined ? 'yes' : peerMatches(snapshot, peer, end, text),
        port === undefined ? 'yes' : portCertainty(port, peer, connection),
      ),
    ),
  );
  return best(pairs);
}

/** N-51 to N-55: names are those of the destination pod, and never of a node or network (N-33). */
function portCertainty(port: PortMatch, peer: ClusterPeer | undefined, connection: Connection): Certainty {
  if (port.kind === 'named' && (peer?.kind === 'nodes' || peer?.kind === 'ip-block')) return 'no';
  if (portMatches(port, connection)) return 'yes';
  const claimants = claimantsOf(connection.destinationPod);
  const some = claimants.some((destinationPod) => portMatches(port, { ...connection, destinationPod }));
  return some ? 'maybe' : 'no';
}

/** N-41, N-44, N-45. */
function peerMatches(
  snapshot: ClusterSnapshot,
  peer: ClusterPeer,
  { pod, address }: OtherEnd,
  text: string,
): Certainty {
  switch (peer.kind) {
    case 'nothing':
      return 'no';
    case 'ip-block':
      return cidrContains(peer.cidr, address) ? 'yes' : 'no';
    case 'nodes': {
      const all = [...(snapshot.labelledNodes?.values() ?? [])];
      const nodes = all.filter(({ addresses }) => addresses.includes(text));
      return best(nodes.map(({ labels }) => certainty(peer.nodes, labels)));
    }
    case 'pods': {
      const { namespaces } = peer;
      if (pod === undefined || namespaces === 'own') return 'no';
      // Of several claimants it is what they have in common: in doubt where they differ.
      return selectsPod(snapshot, namespaces, peer.pods, pod);
    }
  }
}

function best(certainties: readonly Certainty[]): Certainty {
  return certainties.includes('yes') ? 'yes' : certainties.includes('maybe') ? 'maybe' : 'no';
}

function selectsPod(snapshot: ClusterSnapshot, namespaces: Selector, pods: Selector, pod: Pod): Certainty {
  return bothHold(certainty(namespaces, snapshot.namespaces.get(pod.namespace)?.labels), certainty(pods, pod.labels));
}
