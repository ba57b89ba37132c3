/**
 * The reference evaluator with cluster-wide policies: tier Admin, NetworkPolicy, tier Baseline, point by point (N-40 to N-73). Slow and obvious on
 * purpose, as evaluate.ts, and it shares nothing with the compiler.
 *
 * Where labels or the owner of an address are not known, a rule only may match: one that accepts then does not, and one that denies or passes
 * denies, as one that is not understood does (N-90).
 */
import type { Direction } from '../core/vocabulary.ts';

import { cidrContains } from '../net/cidr.ts';
import { claimantsOf } from './address-owners.ts';
import { type Connection, otherEnd, type OtherEnd, portMatches } from './connection.ts';
import {
  type ClusterPeer,
  type ClusterPolicy,
  type ClusterRule,
  type ClusterSnapshot,
  type DirectionVerdict,
  type Pod,
  type PortMatch,
  type RuleRef,
  type Selector,
  type Tier,
  TIERS,
} from './model.ts';
import { bothHold, type Certainty, certainty } from './selector.ts';

/** What decides besides the two ends of a connection. */
type TieredWorld = Pick<ClusterSnapshot, 'namespaces' | 'clusterPolicies' | 'labelledNodes'>;

/** What NetworkPolicy says. */
interface NetworkPolicies {
  readonly verdict: DirectionVerdict;
  /** N-40: pods that own the address and are on a node; those of the host network own none. */
  readonly subjects: readonly Pod[];
  readonly isIsolated: boolean;
}

export function judgeTiers(
  world: TieredWorld,
  direction: Direction,
  connection: Connection,
  { verdict, subjects, isIsolated }: NetworkPolicies,
): DirectionVerdict {
  const isOwnService = connection.flow.viaService === true && verdict.kind === 'exempt' && verdict.reason === 'self';
  // N-72 and N-40: what is exempt from NetworkPolicy is from these, but for a pod that reaches itself through a Service (N-71).
  if (subjects.length === 0 || (verdict.kind === 'exempt' && !isOwnService)) return verdict;
  const lists = subjects.map((subject) => TIERS.map((tier) => rulesFor(world, tier, direction, subject)));
  const [admin = [], baseline = []] = lists[0]!;
  // As S-73: where several pods claim the address and are not subjects of the same rules, nothing is allowed but the way to itself.
  if (!lists.every((list) => isSameList(list, lists[0]!)))
    return isOwnService ? verdict : decided('Deny', lists.flat(2)[0]!.ref, []);
  const first = outcome(admin, world, connection);
  if (first.action !== undefined) return decided(first.action, first.by, []);
  // N-65: where NetworkPolicy isolates, its answer is final.
  if (isIsolated) return passed(verdict, first.passedBy);
  const last = outcome(baseline, world, connection);
  const passedBy = [...first.passedBy, ...last.passedBy];
  return last.action === undefined ? passed(verdict, passedBy) : decided(last.action, last.by, passedBy);
}

function decided(action: 'Accept' | 'Deny', by: RuleRef, passedBy: readonly RuleRef[]): DirectionVerdict {
  return { kind: 'tier-rule', action, by, passedBy };
}

function passed(verdict: DirectionVerdict, passedBy: readonly RuleRef[]): DirectionVerdict {
  return passedBy.length === 0 ? verdict : { ...verdict, passedBy };
}

type Lists = readonly (readonly OrderedRule[])[];

function isSameList(one: Lists, other: Lists): boolean {
  const text = (lists: Lists): string => JSON.stringify(lists.flat().map(({ ref, concerns }) => [ref, concerns]));
  return one === other || text(one) === text(other);
}

/** N-40: of a pod that policies can protect. */
export function isSubjectOf(
  world: Pick<ClusterSnapshot, 'namespaces'>,
  { subject }: ClusterPolicy,
  pod: Pod,
): Certainty {
  return selectsPod(world, subject.namespaces, subject.pods, pod);
}

interface OrderedRule {
  readonly ref: RuleRef;
  readonly rule: ClusterRule;
  /** Whether the pod is a subject of its policy. */
  readonly concerns: Certainty;
}

/** N-61: in order of priority, then of the list; N-67: of equal priorities in order of name. */
function rulesFor(snapshot: TieredWorld, tier: Tier, direction: Direction, subject: Pod): readonly OrderedRule[] {
  return [...(snapshot.clusterPolicies?.values() ?? [])]
    .filter((policy) => policy.tier === tier)
    .sort((a, b) => a.priority - b.priority || (a.name < b.name ? -1 : 1))
    .flatMap((policy) => {
      const concerns = isSubjectOf(snapshot, policy, subject);
      if (concerns === 'no') return [];
      return policy[direction].map((rule, index): OrderedRule => {
        const named = rule.name === undefined ? {} : { name: rule.name };
        return {
          rule,
          concerns,
          ref: { policy: { namespace: '', name: policy.name, tier }, direction, index, ...named },
        };
      });
    });
}

/** What a tier says; `action` undefined: the next one is asked (N-63, N-64). */
type Outcome =
  | { readonly action: 'Accept' | 'Deny'; readonly by: RuleRef; readonly passedBy: readonly [] }
  | { readonly action: undefined; readonly passedBy: readonly RuleRef[] };

/** N-61: of the first rule that matches; N-90, N-93: in doubt nothing is accepted or passed. */
function outcome(rules: readonly OrderedRule[], snapshot: TieredWorld, connection: Connection): Outcome {
  for (const { ref, rule, concerns } of rules) {
    const certainty = bothHold(concerns, ruleMatches(snapshot, rule, ref.direction, connection));
    if (certainty === 'no' || (certainty === 'maybe' && rule.action === 'Accept')) continue;
    if (certainty === 'maybe') return { action: 'Deny', by: ref, passedBy: [] };
    return outcomeOf(rule.action, ref);
  }
  return { action: undefined, passedBy: [] };
}

/** N-62, N-63. */
function outcomeOf(action: ClusterRule['action'], ref: RuleRef): Outcome {
  return action === 'Pass' ? { action: undefined, passedBy: [ref] } : { action, by: ref, passedBy: [] };
}

/** N-50, N-56. */
function ruleMatches(
  snapshot: TieredWorld,
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
        peer === undefined ? 'yes' : clusterPeerMatches(snapshot, peer, end, text),
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

/** N-41, N-44, N-45. `text`: the address, canonical. */
export function clusterPeerMatches(
  snapshot: Pick<ClusterSnapshot, 'namespaces' | 'labelledNodes'>,
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

function selectsPod(
  snapshot: Pick<ClusterSnapshot, 'namespaces'>,
  namespaces: Selector,
  pods: Selector,
  pod: Pod,
): Certainty {
  return bothHold(certainty(namespaces, snapshot.namespaces.get(pod.namespace)?.labels), certainty(pods, pod.labels));
}
