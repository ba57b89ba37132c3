/**
 * Why a flow is denied: of each policy that isolates the pod, the rule that comes nearest to letting it pass, and what of that rule does not
 * hold. Every answer comes from the evaluator's own predicates; what is decided here is only which of the false ones to tell.
 */
import type { Direction, Protocol } from '../core/vocabulary.ts';
import type { Cidr } from '../net/cidr.ts';
import type {
  DirectionVerdict,
  Labels,
  Peer,
  Pod,
  Policy,
  PolicyRef,
  PortMatch,
  Requirement,
  Rule,
  Selector,
} from './model.ts';

import { PROTOCOL_NUMBER } from '../core/vocabulary.ts';
import { cidrContains, formatCidr } from '../net/cidr.ts';
import { type Connection, otherEnd, type OtherEnd, portMatches } from './connection.ts';
import {
  agree,
  isolationsOf,
  judgeDirection,
  namespaceMatches,
  peerMatches,
  policiesOf,
  type PolicyWorld,
  refOf,
} from './evaluate.ts';
import { UNKNOWN_LABELS } from './model.ts';
import { holds, matches } from './selector.ts';

export interface Explanation {
  readonly verdict: DirectionVerdict;
  /** All that isolate the pod, in the order of `verdict.isolatedBy`; empty unless it is denied. */
  readonly policies: readonly PolicyReason[];
}

/** Why one policy does not let the flow pass. */
export interface PolicyReason {
  readonly policy: PolicyRef;
  readonly reason: Reason;
}

export type Reason =
  | { readonly kind: 'no-rules' }
  /** It isolates the pod because it may select it: the pod has more labels than are kept. */
  | { readonly kind: 'subject-labels-unknown' }
  /** S-73: pods that are not isolated alike claim the address, and nothing is allowed whatever the rules say. */
  | { readonly kind: 'address-claimed'; readonly pods: readonly Pod[] }
  /** `failed`: at least one clause; all others of the rule hold. */
  | { readonly kind: 'rule'; readonly index: number; readonly failed: readonly FailedClause[] };

export type FailedClause =
  /** None of the ports is the flow's; empty: no entry could be used. */
  | { readonly kind: 'ports'; readonly ports: readonly PortMatch[] }
  /** No peer is the other end. `nearest`: what of the nearest one does not hold; empty: no entry could be used. */
  | { readonly kind: 'peers'; readonly nearest: readonly FailedTerm[] };

/** One term of a peer that is false by itself. */
export type FailedTerm =
  | { readonly kind: 'unusable'; readonly reason: string }
  | { readonly kind: 'outside-block'; readonly cidr: Cidr }
  | { readonly kind: 'excepted'; readonly cidr: Cidr; readonly except: Cidr }
  /** Selectors match pods alone (S-27). */
  | { readonly kind: 'not-a-pod' }
  | { readonly kind: 'other-namespace'; readonly wanted: string; readonly actual: string }
  /** Labels of it were not seen yet, or more than are kept. */
  | { readonly kind: 'unknown-labels'; readonly of: 'pod' | 'namespace'; readonly name: string }
  | {
      readonly kind: 'label';
      readonly of: 'pod' | 'namespace';
      readonly requirement: Requirement;
      readonly actual: string | undefined;
    };

export function explainDenial(world: PolicyWorld, direction: Direction, connection: Connection): Explanation {
  const verdict = judgeDirection(world, direction, connection);
  if (verdict.kind !== 'denied') return { verdict, policies: [] };
  const isolated = isolationsOf(world, direction, connection);
  const subjects = isolated.map(({ subject }) => subject);
  const policies = policiesOf(isolated).map((policy): PolicyReason => {
    const reason: Reason = agree(isolated)
      ? reasonOf(world, direction, policy, subjects[0]!, connection)
      : { kind: 'address-claimed', pods: subjects };
    return { policy: refOf(policy), reason };
  });
  return { verdict, policies };
}

function reasonOf(
  world: PolicyWorld,
  direction: Direction,
  policy: Policy,
  subject: Pod,
  connection: Connection,
): Reason {
  if (!matches(policy.podSelector, subject.labels)) return { kind: 'subject-labels-unknown' };
  const end = otherEnd(direction, connection);
  const misses = policy[direction].map((rule, index) => missOf(world, policy, rule, index, end, connection));
  if (misses.length === 0) return { kind: 'no-rules' };
  const { index, failed } = misses.reduce((nearest, each) => (isNearer(each, nearest) ? each : nearest));
  return { kind: 'rule', index, failed };
}

interface Miss {
  readonly index: number;
  readonly failed: readonly FailedClause[];
  /** Among rules of which as many clauses fail. */
  readonly distance: number;
}

/** Of equally near ones the first stays. */
function isNearer(one: Miss, other: Miss): boolean {
  return (
    one.failed.length < other.failed.length ||
    (one.failed.length === other.failed.length && one.distance < other.distance)
  );
}

function missOf(
  world: PolicyWorld,
  policy: Policy,
  { ports, peers }: Rule,
  index: number,
  end: OtherEnd,
  connection: Connection,
): Miss {
  const failed: FailedClause[] = [];
  let distance = 0;
  if (ports !== 'any' && !ports.some((port) => portMatches(port, connection))) {
    failed.push({ kind: 'ports', ports });
    distance += ports.some(({ protocol }) => PROTOCOL_NUMBER[protocol] === connection.flow.protocol) ? 1 : OTHER_KIND;
  }
  if (peers !== 'any' && !peers.some((peer) => peerMatches(world, peer, policy, end))) {
    const { terms, far } = nearestPeer(world, policy, peers, end);
    failed.push({ kind: 'peers', nearest: terms });
    distance += far;
  }
  return { index, failed, distance };
}

/** Farther than any number of labels that differ: the clause is about something else than this flow. */
const OTHER_KIND = 1_000;
/** Nothing would match. */
const UNUSABLE = 2 * OTHER_KIND;

interface PeerMiss {
  readonly terms: readonly FailedTerm[];
  readonly far: number;
}

function nearestPeer(world: PolicyWorld, policy: PolicyRef, peers: readonly Peer[], end: OtherEnd): PeerMiss {
  let nearest: PeerMiss = { terms: [], far: Number.POSITIVE_INFINITY };
  for (const peer of peers) {
    const miss = peerMiss(world, policy, peer, end);
    if (miss.far < nearest.far) nearest = miss;
  }
  return peers.length === 0 ? { terms: [], far: UNUSABLE } : nearest;
}

function peerMiss(world: PolicyWorld, policy: PolicyRef, peer: Peer, { pod, address }: OtherEnd): PeerMiss {
  switch (peer.kind) {
    case 'nothing':
      return { terms: [{ kind: 'unusable', reason: peer.reason }], far: UNUSABLE };
    case 'ip-block': {
      const { cidr, except } = peer;
      const exception = cidrContains(cidr, address) ? except.find((each) => cidrContains(each, address)) : undefined;
      if (exception) return { terms: [{ kind: 'excepted', cidr, except: exception }], far: 1 };
      return { terms: [{ kind: 'outside-block', cidr }], far: pod ? OTHER_KIND : 2 };
    }
    case 'pods': {
      if (!pod) return { terms: [{ kind: 'not-a-pod' }], far: OTHER_KIND };
      const terms = [
        ...namespaceTerms(world, policy, peer.namespaces, pod.namespace),
        ...selectorTerms(peer.pods, pod.labels, 'pod', pod.name),
      ];
      return { terms, far: Math.min(terms.length, OTHER_KIND - 1) };
    }
  }
}

function namespaceTerms(
  { namespaces }: PolicyWorld,
  policy: PolicyRef,
  selector: Selector | 'own',
  actual: string,
): FailedTerm[] {
  if (selector === 'own')
    return actual === policy.namespace ? [] : [{ kind: 'other-namespace', wanted: policy.namespace, actual }];
  const labels = namespaces.get(actual)?.labels;
  if (namespaceMatches(selector, labels)) return [];
  if (labels === undefined && selector.kind === 'all-of')
    return [{ kind: 'unknown-labels', of: 'namespace', name: actual }];
  return selectorTerms(selector, labels ?? {}, 'namespace', actual);
}

function selectorTerms(selector: Selector, labels: Labels, of: 'pod' | 'namespace', name: string): FailedTerm[] {
  if (matches(selector, labels)) return [];
  if (selector.kind === 'nothing') return [{ kind: 'unusable', reason: selector.reason }];
  if (labels === UNKNOWN_LABELS) return [{ kind: 'unknown-labels', of, name }];
  return selector.requirements
    .filter((requirement) => !holds(requirement, labels))
    .map((requirement) => {
      const actual = Object.hasOwn(labels, requirement.key) ? labels[requirement.key] : undefined;
      return { kind: 'label', of, requirement, actual };
    });
}

// --------------------------------------------------------------------------------------------------------------- words

/** Of a list in a sentence. */
const MAX_LISTED = 8;
/** A label may be as long as an object; the API server lets values have 63 characters. */
const MAX_WORD = 80;

/** Why, in words for people; one line. */
export function reasonText(reason: Reason, direction: Direction, connection: Connection): string {
  switch (reason.kind) {
    case 'no-rules':
      return 'no rules: allows nothing';
    case 'subject-labels-unknown':
      return 'may select the pod, which has more labels than are kept: allows nothing';
    case 'address-claimed':
      return `${reason.pods.map(({ namespace, name }) => `${namespace}/${name}`).join(' and ')} claim the address and are not isolated alike: nothing is allowed`;
    case 'rule':
      return `${direction}[${reason.index}]: ${reason.failed.map((clause) => clauseText(clause, connection)).join('; ')}`;
  }
}

function clauseText(clause: FailedClause, connection: Connection): string {
  if (clause.kind === 'ports') return portsText(clause.ports, connection);
  if (clause.nearest.length === 0) return 'no peer of it can be used';
  return clause.nearest.map(termText).join(', ');
}

function portsText(ports: readonly PortMatch[], connection: Connection): string {
  const { protocol, port } = connection.flow;
  if (ports.length === 0) return 'no port of it can be used';
  const name = protocolName(protocol);
  const hasPort = ports.some((each) => PROTOCOL_NUMBER[each.protocol] === protocol);
  const isOneProtocol = hasPort && ports.every((each) => each.protocol === name);
  const wanted = listed(ports.map((each) => portText(each, connection, isOneProtocol ? '' : `${each.protocol} `)));
  if (isOneProtocol) return `port ${port} not in ${wanted}`;
  return hasPort ? `${name} ${port} not in ${wanted}` : `${name} not in ${wanted}`;
}

function portText(each: PortMatch, { destinationPod }: Connection, protocol: string): string {
  if (each.kind === 'range')
    return `${protocol}${each.first === each.last ? each.first : `${each.first}-${each.last}`}`;
  const numbers = (destinationPod?.namedPorts ?? [])
    .filter((declared) => declared.name === each.name && declared.protocol === each.protocol)
    .map(({ port }) => port);
  const meaning = numbers.length > 0 ? listed(numbers.map(String)) : 'no such port at the destination';
  return `${protocol}${word(each.name)} (${meaning})`;
}

export function protocolName(number: number): string {
  const known = Object.entries(PROTOCOL_NUMBER).find(([, value]) => value === number);
  return known ? (known[0] as Protocol) : `protocol ${number}`;
}

function termText(term: FailedTerm): string {
  switch (term.kind) {
    case 'unusable':
      return `never matches: ${word(term.reason)}`;
    case 'outside-block':
      return `not in ${formatCidr(term.cidr)}`;
    case 'excepted':
      return `in ${formatCidr(term.cidr)} but excepted by ${formatCidr(term.except)}`;
    case 'not-a-pod':
      return "selects pods, and the address is no pod's";
    case 'other-namespace':
      return `namespace ${word(term.actual)} is not ${word(term.wanted)}`;
    case 'unknown-labels':
      return `labels of ${term.of} ${word(term.name)} are not known`;
    case 'label':
      return `${term.of} ${labelText(term.requirement, term.actual)}`;
  }
}

function labelText({ key, operator, values }: Requirement, actual: string | undefined): string {
  const label = `label ${word(key)}`;
  switch (operator) {
    case 'In': {
      const wanted = values.length === 1 ? word(values[0]!) : `in ${listed(values.map(word))}`;
      return actual === undefined ? `${label} is absent, not ${wanted}` : `${label}=${word(actual)} is not ${wanted}`;
    }
    case 'NotIn':
      return `${label}=${word(actual ?? '')} is ruled out`;
    case 'Exists':
      return `${label} is absent`;
    case 'DoesNotExist':
      return `${label}=${word(actual ?? '')} must not be there`;
  }
}

function listed(words: readonly string[]): string {
  const more = words.length - MAX_LISTED;
  return [...words.slice(0, MAX_LISTED), ...(more > 0 ? [`${more} more`] : [])].join(', ');
}

function word(text: string): string {
  if (text === '') return '""';
  return text.length > MAX_WORD ? `${text.slice(0, MAX_WORD)}…` : text;
}
