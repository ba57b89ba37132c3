/**
 * The reference evaluator: section 1.1 of the semantics, clause by clause. Slow and obvious on purpose: it is what the
 * compiled rules are compared with, so it shares nothing with the compiler, and it is what people get as an explanation.
 *
 * NDP (S-58), ICMP errors and replies (S-07) are not connections and have no Flow.
 */
import { cidrContains } from '../net/cidr.ts';
import { addressOwners, claimantsOf } from './address-owners.ts';
import type { Direction } from '../core/vocabulary.ts';
import {
  type ClusterSnapshot,
  type DirectionVerdict,
  type Flow,
  type Labels,
  type Peer,
  type Pod,
  type Policy,
  type PolicyRef,
  type Rule,
  type RuleRef,
  type Selector,
  UNKNOWN_LABELS,
  type Verdict,
} from './model.ts';
import { type Connection, connectionOf, otherEnd, type OtherEnd, portMatches } from './connection.ts';
import { judgeTiers } from './evaluate-tiers.ts';
import { isAudited } from './policy-mode.ts';
import { matches, mayMatch } from './selector.ts';

/** What decides besides the two ends of a flow. */
export interface PolicyWorld
  extends Pick<ClusterSnapshot, 'policies' | 'namespaces' | 'clusterPolicies' | 'labelledNodes'> {
  /** As if no policy were only audited; or all but this one that are. */
  readonly enforcesAudited?: true | PolicyRef;
}

export interface Evaluator {
  evaluate(flow: Flow): Verdict;
}

/** For many flows over one snapshot, which must not change meanwhile. */
export function createEvaluator(snapshot: ClusterSnapshot): Evaluator {
  const owners = addressOwners(snapshot.pods.values());
  const { policies, namespaces } = snapshot;
  const enforced = { ...snapshot, enforcesAudited: true } as const;
  const isAnyAudited = [...policies.values()].some((policy) => isAudited(policy, namespaces.get(policy.namespace)));
  return {
    evaluate(flow) {
      const connection = connectionOf(owners, flow);
      const verdict = judgeBoth(snapshot, connection);
      if (!isAnyAudited) return verdict;
      return { ...verdict, ifEnforced: judgeBoth(enforced, connection) };
    },
  };
}

function judgeBoth(world: PolicyWorld, connection: Connection): Omit<Verdict, 'ifEnforced'> {
  const egress = judgeDirection(world, 'egress', connection);
  const ingress = judgeDirection(world, 'ingress', connection);
  return { allowed: letsPass(egress) && letsPass(ingress), egress, ingress };
}

export type AuditOutcome = 'would-deny' | 'would-allow';

/** What policies that are only audited would change together; absent: nothing. */
export function auditOutcome(verdict: Verdict, direction: Direction): AuditOutcome | undefined {
  const passes = letsPass(verdict[direction]);
  if (!verdict.ifEnforced || letsPass(verdict.ifEnforced[direction]) === passes) return undefined;
  return passes ? 'would-deny' : 'would-allow';
}

/** What one audited policy would change by itself, were it enforced while all others stay as they are; absent: nothing. */
export function outcomeAlone(
  world: PolicyWorld,
  policy: PolicyRef,
  direction: Direction,
  connection: Connection,
): AuditOutcome | undefined {
  const passes = letsPass(judgeDirection(world, direction, connection));
  const alone = judgeDirection({ ...world, enforcesAudited: policy }, direction, connection);
  return letsPass(alone) === passes ? undefined : passes ? 'would-deny' : 'would-allow';
}

/** For a single flow. Addresses that are not IP addresses are an error of the caller and throw. */
export function evaluate(snapshot: ClusterSnapshot, flow: Flow): Verdict {
  return createEvaluator(snapshot).evaluate(flow);
}

/** S-06: both sides are asked, neither overrides the other. */
export function letsPass(verdict: DirectionVerdict): boolean {
  switch (verdict.kind) {
    case 'exempt':
    case 'not-isolated':
    case 'allowed':
      return true;
    case 'denied':
      return false;
    case 'tier-rule':
      return verdict.action === 'Accept';
  }
}

export function judgeDirection(snapshot: PolicyWorld, direction: Direction, connection: Connection): DirectionVerdict {
  const verdict = judgeNetworkPolicies(snapshot, direction, connection);
  if (!snapshot.clusterPolicies?.size) return verdict;
  const { sourcePod, destinationPod } = connection;
  const subjects = subjectsAt(direction === 'egress' ? sourcePod : destinationPod);
  const isIsolated = isolatedAmong(snapshot, direction, subjects).length > 0;
  return judgeTiers(snapshot, direction, connection, { verdict, subjects, isIsolated });
}

function judgeNetworkPolicies(snapshot: PolicyWorld, direction: Direction, connection: Connection): DirectionVerdict {
  return direction === 'egress' ? judgeEgress(snapshot, connection) : judgeIngress(snapshot, connection);
}

function judgeEgress(snapshot: PolicyWorld, connection: Connection): DirectionVerdict {
  const { flow, sourcePod } = connection;
  if (flow.source === flow.destination) return { kind: 'exempt', reason: 'self' }; // S-62
  const subjects = subjectsAt(sourcePod);
  // What a node's host network sends is node traffic, whatever address it carries (S-60, S-64).
  if (flow.fromNode !== undefined || subjects.length === 0) return { kind: 'exempt', reason: 'not-a-subject' };
  return judge(snapshot, 'egress', subjects, connection);
}

function judgeIngress(snapshot: PolicyWorld, connection: Connection): DirectionVerdict {
  const { flow, destinationPod } = connection;
  if (flow.source === flow.destination) return { kind: 'exempt', reason: 'self' }; // S-62
  const subjects = subjectsAt(destinationPod);
  if (subjects.length === 0) return { kind: 'exempt', reason: 'not-a-subject' };
  const isOwnNode = subjects.some(({ nodeName }) => nodeName === flow.fromNode);
  if (isOwnNode) return { kind: 'exempt', reason: 'own-node' }; // S-60
  return judge(snapshot, 'ingress', subjects, connection);
}

/** S-70: eligible pods (only those own addresses) that are on a node: without one nobody enforces anything for them. */
function subjectsAt(owner: Pod | undefined): readonly Pod[] {
  return claimantsOf(owner).filter(({ nodeName }) => nodeName !== undefined);
}

/**
 * S-04, S-05: the union of all rules of all policies that isolate the pod in this direction. S-73: where several pods claim the address,
 * those that are isolated decide; if they are not by the same policies, nothing is allowed.
 */
function judge(
  snapshot: PolicyWorld,
  direction: Direction,
  subjects: readonly Pod[],
  connection: Connection,
): DirectionVerdict {
  const isolated = isolatedAmong(snapshot, direction, subjects);
  const [first] = isolated;
  if (first === undefined) return { kind: 'not-isolated' }; // S-02
  const isolatedBy = policiesOf(isolated).map(refOf);
  if (!agree(isolated)) return { kind: 'denied', isolatedBy };
  const by: RuleRef[] = [];
  for (const policy of first.policies) {
    // One that only may select the pod isolates it, but allows it nothing.
    if (!matches(policy.podSelector, first.subject.labels)) continue;
    for (const [index, rule] of policy[direction].entries()) {
      if (ruleAllows(snapshot, rule, policy, direction, connection))
        by.push({ policy: refOf(policy), direction, index });
    }
  }
  return by.length > 0 ? { kind: 'allowed', by } : { kind: 'denied', isolatedBy };
}

/** A pod and the policies that isolate it in one direction; at least one. */
export interface Isolation {
  readonly subject: Pod;
  readonly policies: readonly Policy[];
}

/** Of the pod that policies protect in this direction, or of several that claim its address. */
export function isolationsOf(snapshot: PolicyWorld, direction: Direction, connection: Connection): Isolation[] {
  const { sourcePod, destinationPod } = connection;
  return isolatedAmong(snapshot, direction, subjectsAt(direction === 'egress' ? sourcePod : destinationPod));
}

function isolatedAmong(snapshot: PolicyWorld, direction: Direction, subjects: readonly Pod[]): Isolation[] {
  return subjects.flatMap((subject) => {
    const policies = isolatingPolicies(snapshot, direction, subject);
    return policies.length === 0 ? [] : [{ subject, policies }];
  });
}

/** Each once. */
export function policiesOf(isolated: readonly Isolation[]): readonly Policy[] {
  return [...new Set(isolated.flatMap(({ policies }) => policies))];
}

/** Whether all of them are isolated by the same policies. */
export function agree([first, ...others]: readonly Isolation[]): boolean {
  return first === undefined || others.every((other) => isSameIsolation(first, other));
}

function isSameIsolation(one: Isolation, other: Isolation): boolean {
  return (
    (one.subject.labels === UNKNOWN_LABELS) === (other.subject.labels === UNKNOWN_LABELS) &&
    one.policies.length === other.policies.length &&
    one.policies.every((policy, index) => policy === other.policies[index])
  );
}

/** S-03. Sorted by name, so that reasons do not depend on the order of the watch. */
function isolatingPolicies(snapshot: PolicyWorld, direction: Direction, subject: Pod): Policy[] {
  const namespace = snapshot.namespaces.get(subject.namespace);
  return [...snapshot.policies.values()]
    .filter((policy) => policy.namespace === subject.namespace)
    .filter((policy) => isEnforced(snapshot.enforcesAudited, policy) || !isAudited(policy, namespace))
    .filter((policy) => policy.isolates[direction] && mayMatch(policy.podSelector, subject.labels))
    .sort((a, b) => (a.name < b.name ? -1 : 1));
}

function isEnforced(audited: PolicyWorld['enforcesAudited'], policy: Policy): boolean {
  if (audited === undefined || audited === true) return audited === true;
  return audited.namespace === policy.namespace && audited.name === policy.name;
}

export function refOf({ namespace, name }: Policy): PolicyRef {
  return { namespace, name };
}

/** S-33. */
function ruleAllows(
  snapshot: PolicyWorld,
  rule: Rule,
  policy: Policy,
  direction: Direction,
  connection: Connection,
): boolean {
  const end = otherEnd(direction, connection);
  return (
    (rule.ports === 'any' || rule.ports.some((port) => portMatches(port, connection))) && // S-32
    (rule.peers === 'any' || rule.peers.some((peer) => peerMatches(snapshot, peer, policy, end))) // S-23
  );
}

export function peerMatches(
  snapshot: PolicyWorld,
  peer: Peer,
  policy: PolicyRef,
  { pod: other, address }: OtherEnd,
): boolean {
  switch (peer.kind) {
    case 'nothing':
      return false;
    case 'ip-block':
      // S-28, S-30: the address alone counts, pod or not, and only this block's own exceptions.
      return cidrContains(peer.cidr, address) && !peer.except.some((except) => cidrContains(except, address));
    case 'pods':
      // S-24, S-26, S-27: an eligible pod, or no match.
      return (
        other !== undefined &&
        matches(peer.pods, other.labels) &&
        (peer.namespaces === 'own'
          ? other.namespace === policy.namespace
          : namespaceMatches(peer.namespaces, snapshot.namespaces.get(other.namespace)?.labels))
      );
  }
}

/** S-22: a namespace that is not known (yet) matches only the selector of all namespaces. */
export function namespaceMatches(selector: Selector, labels: Labels | undefined): boolean {
  if (labels !== undefined) return matches(selector, labels);
  return selector.kind === 'all-of' && selector.requirements.length === 0;
}
