/**
 * What is probably not meant in ClusterNetworkPolicies. What a rule means is asked of the parser, the evaluator and `coveringRules`, as for
 * NetworkPolicies (lint.ts, which has the table of checks).
 */
import type { Direction } from '../core/vocabulary.ts';
import type { ClusterPeer, ClusterPolicy, ClusterRule, Labels, Pod, Problem, RuleRef, Selector } from './model.ts';

import { compareText } from '../core/compare.ts';
import { DIRECTIONS, PROTOCOL_NUMBER } from '../core/vocabulary.ts';
import { cidrContains, parseCidr } from '../net/cidr.ts';
import { parseAddress } from '../net/ip.ts';
import { addressOwners, isEligible } from './address-owners.ts';
import { connectionOf } from './connection.ts';
import { contradicts, coveringRules, selectorCovers } from './covers.ts';
import { judgeDirection } from './evaluate.ts';
import { clusterPeerMatches, isSubjectOf } from './evaluate-tiers.ts';
import {
  counted,
  type FieldPath,
  type Finding,
  heldServices,
  hostBits,
  isIgnored,
  type LintWorld,
  listAt,
  namespaceSelector,
  pathOf,
  type Report,
} from './lint.ts';
import { NAMESPACE_NAME_LABEL } from './model.ts';
import { isRecord, type RawRecord } from './raw-values.ts';
import { matches } from './selector.ts';

/** One cluster-wide policy, as it was written and as it was read. */
export interface WrittenClusterPolicy {
  readonly raw: RawRecord;
  readonly policy: ClusterPolicy;
  readonly problems: readonly Problem[];
}

const SYSTEM = 'kube-system';

export function lintClusterPolicies(policies: readonly WrittenClusterPolicy[], world: LintWorld): readonly Finding[] {
  const all = [
    ...policies.flatMap((each) => lintOne(each, world)),
    ...neverReached(policies.map(({ policy }) => policy)),
    ...equalPriorities(
      policies.map(({ policy }) => policy),
      world,
    ),
    ...deniedDns(
      policies.map(({ policy }) => policy),
      world,
    ),
  ];
  const rawOf = new Map(policies.map(({ raw, policy }) => [policy.name, raw]));
  return all.filter(({ object, check }) => !isIgnored(rawOf.get(object.name), check));
}

const PEERS = { ingress: 'from', egress: 'to' } as const satisfies Record<Direction, string>;

function lintOne({ raw, policy, problems }: WrittenClusterPolicy, world: LintWorld): Finding[] {
  const findings: Finding[] = [];
  const report: Report = (check, path, message, fix) => {
    findings.push({ check, object: objectOf(policy), path, message, fix });
  };
  for (const { field, message } of problems) unreadable(field, message, report);
  subject(policy, problems, world, report);
  const spec = isRecord(raw.spec) ? raw.spec : {};
  for (const direction of DIRECTIONS) {
    const written = listAt(spec, direction);
    for (const [index, rule] of policy[direction].entries()) {
      const at = ['spec', direction, index];
      const own = isRecord(written[index]) ? written[index] : {};
      if (policy.tier === 'Baseline' && rule.action === 'Pass')
        report('pass-in-baseline', [...at, 'action'], 'passes to a tier that is not there', 'write Accept, or Deny');
      portNames(rule, policy, direction, at, world, report);
      for (const [each, peer] of listAt(own, PEERS[direction]).entries())
        if (isRecord(peer)) writtenPeer(peer, [...at, PEERS[direction], each], world, report);
      for (const [each, peer] of readPeers(rule, listAt(own, PEERS[direction])))
        selectors(peer, [...at, PEERS[direction], each], world, report);
    }
  }
  return findings;
}

function objectOf({ name }: ClusterPolicy): Finding['object'] {
  return { kind: 'ClusterNetworkPolicy', name };
}

function unreadable(field: string, message: string, report: Report): void {
  const path = pathOf(field);
  if (path.at(-1) === 'domainNames')
    report(
      'unsupported-field',
      path,
      message,
      'name the addresses by networks, or the pods of a proxy that the traffic goes through',
    );
  else if (message.startsWith('is a field this agent does not know'))
    report('unsupported-field', path, message, 'correct its name, or take it out');
  else report('unusable', path, message, 'write the field as the API describes it');
}

function subject(policy: ClusterPolicy, problems: readonly Problem[], world: LintWorld, report: Report): void {
  if (problems.some(({ field }) => field.startsWith('spec.subject'))) return;
  const { snapshot, isWhole } = world;
  const { namespaces, pods } = policy.subject;
  const at = ['spec', 'subject'];
  if (selectorsIn(policy.subject, at, world, report)) return;
  const all = [...snapshot.pods.values()].filter(isEligible);
  const subjects = all.filter((pod) => isSubjectOf(snapshot, policy, pod) !== 'no');
  if (subjects.length === 0 && (isWhole || all.length > 0))
    report(
      'selects-nobody',
      at,
      `selects none of the ${all.length} pods (those of the host network are never subjects)`,
      'use labels that namespaces and pods have',
    );
  const system: Labels = snapshot.namespaces.get(SYSTEM)?.labels ?? { [NAMESPACE_NAME_LABEL]: SYSTEM };
  const denies = DIRECTIONS.some((direction) => policy[direction].some(({ action }) => action === 'Deny'));
  const isOfSystem = isWhole
    ? subjects.some(({ namespace }) => namespace === SYSTEM)
    : pods.kind === 'all-of' && pods.requirements.length === 0;
  if (denies && isOfSystem && matches(namespaces, system))
    report(
      'denies-system',
      at,
      `pods of ${SYSTEM} are subjects of its Deny rules`,
      `except them: namespaces with {key: ${NAMESPACE_NAME_LABEL}, operator: NotIn, values: [${SYSTEM}]}`,
    );
}

// ---------------------------------------------------------------------------------------------------------------- rules

function portNames(
  rule: ClusterRule,
  policy: ClusterPolicy,
  direction: Direction,
  at: FieldPath,
  { snapshot }: LintWorld,
  report: Report,
): void {
  if (rule.ports === 'any') return;
  const names = new Set(rule.ports.flatMap((port) => (port.kind === 'named' ? [port.name] : [])));
  if (names.size === 0) return;
  const all = [...snapshot.pods.values()].filter(isEligible);
  const destinations = all.filter((pod) =>
    direction === 'ingress' ? isSubjectOf(snapshot, policy, pod) !== 'no' : isPeer(rule, pod, snapshot),
  );
  if (destinations.length === 0) return;
  for (const name of names) {
    if (destinations.some(({ namedPorts }) => namedPorts.some((port) => port.name === name))) continue;
    report(
      'unknown-port-name',
      [...at, 'protocols'],
      `no pod that ${direction === 'ingress' ? 'it is for' : 'the rule is about'} has a port named ${name}`,
      'declare the port with that name on a container, or use its number',
    );
  }
}

function isPeer({ peers }: ClusterRule, pod: Pod, snapshot: LintWorld['snapshot']): boolean {
  if (peers === 'any') return true;
  const [text = ''] = pod.addresses;
  const end = { pod, address: parseAddress(text)! };
  return peers.some((peer) => peer.kind === 'pods' && clusterPeerMatches(snapshot, peer, end, text) !== 'no');
}

/** What a peer says that its parsed value does not show. */
function writtenPeer(written: RawRecord, path: FieldPath, world: LintWorld, report: Report): void {
  if ('nodes' in written && world.channel !== 'experimental')
    report(
      'experimental-peer',
      [...path, 'nodes'],
      world.channel === 'standard'
        ? 'the CRD that is given is of the standard channel'
        : 'peers of this kind are in the experimental channel alone',
      'install the CRD of the experimental channel, or name the blocks of the nodes by networks',
    );
  for (const [index, text] of listAt(written, 'networks').entries()) {
    const cidr = typeof text === 'string' ? parseCidr(text) : undefined;
    if (!cidr || typeof text !== 'string') continue;
    const at = [...path, 'networks', index];
    hostBits(text, cidr, at, report);
    const holds = (each: string): boolean => {
      const address = parseAddress(each);
      return address !== undefined && cidrContains(cidr, address);
    };
    if (cidr.prefixLength > 0) heldServices(text, holds, at, world, report);
  }
}

/** Peers with the index of what was written; none where some of them cannot be read, or stand for several. */
function readPeers({ peers }: ClusterRule, written: readonly unknown[]): readonly (readonly [number, ClusterPeer])[] {
  if (peers === 'any') return [];
  const places = written.flatMap((peer, index) => {
    const count = isRecord(peer) && Array.isArray(peer.networks) ? peer.networks.length : 1;
    return Array.from({ length: count }, () => index);
  });
  return places.length === peers.length ? peers.map((peer, index) => [places[index]!, peer]) : [];
}

function selectors(peer: ClusterPeer, path: FieldPath, world: LintWorld, report: Report): void {
  switch (peer.kind) {
    case 'nodes':
      contradiction(peer.nodes, [...path, 'nodes'], report);
      break;
    case 'pods':
      if (peer.namespaces !== 'own') selectorsIn({ namespaces: peer.namespaces, pods: peer.pods }, path, world, report);
      break;
    case 'ip-block':
    case 'nothing':
  }
}

/** True: something was found. Fields are those of either form (N-12, N-20); the place is that of what is there. */
function selectorsIn(
  { namespaces, pods }: ClusterPolicy['subject'],
  path: FieldPath,
  world: LintWorld,
  report: Report,
): boolean {
  let found = false;
  const told: Report = (...finding) => {
    found = true;
    report(...finding);
  };
  const isOfPods = pods.kind === 'nothing' || pods.requirements.length > 0;
  const at = isOfPods ? [...path, 'pods', 'namespaceSelector'] : [...path, 'namespaces'];
  if (!contradiction(namespaces, at, told)) namespaceSelector(namespaces, at, world, told);
  contradiction(pods, [...path, 'pods', 'podSelector'], told);
  return found;
}

function contradiction(selector: Selector, path: FieldPath, report: Report): boolean {
  if (!contradicts(selector)) return false;
  report('matches-nothing', path, 'its terms exclude each other', 'take out the term that is not meant');
  return true;
}

// ------------------------------------------------------------------------------------------------ policies with each other

interface OrderedRule extends Pick<ClusterRule, 'ports' | 'peers'> {
  readonly policy: ClusterPolicy;
  readonly index: number;
}

/** Rules all of whose flows earlier rules of their tier decide: of their own policy, or of one that is for at least the same pods. */
export function neverReached(policies: readonly ClusterPolicy[]): Finding[] {
  const findings: Finding[] = [];
  for (const policy of policies) {
    const ahead = policies.filter(
      (other) =>
        other !== policy &&
        other.tier === policy.tier &&
        isAhead(other, policy) &&
        selectorCovers(other.subject.namespaces, policy.subject.namespaces) &&
        selectorCovers(other.subject.pods, policy.subject.pods),
    );
    for (const direction of DIRECTIONS) {
      const earlier = ahead.flatMap((other) => rulesOf(other, direction));
      for (const rule of rulesOf(policy, direction)) {
        const by = isUnusable(rule) ? [] : coveringRules(earlier, rule);
        earlier.push(rule);
        if (by.length === 0) continue;
        const where = by.map((each) =>
          each.policy === policy
            ? `spec.${direction}[${each.index}]`
            : `${each.policy.name} spec.${direction}[${each.index}]`,
        );
        findings.push({
          check: 'never-reached',
          object: objectOf(policy),
          path: ['spec', direction, rule.index],
          message: `all that it matches is decided before, by ${where.join(', ')}`,
          fix: 'move it up, take it out, or make what comes before it narrower',
        });
      }
    }
  }
  return findings;
}

/** N-61; of equal priorities as this agent orders them (N-67). */
function isAhead(one: ClusterPolicy, other: ClusterPolicy): boolean {
  return one.priority < other.priority || (one.priority === other.priority && compareText(one.name, other.name) < 0);
}

function rulesOf(policy: ClusterPolicy, direction: Direction): OrderedRule[] {
  return policy[direction].map(({ ports, peers }, index) => ({ policy, index, ports, peers }));
}

/** It matches nothing, which is told by itself. */
function isUnusable({ peers, ports }: OrderedRule): boolean {
  return ports.length === 0 || peers.length === 0;
}

/** For pods that both are for, where these are known; else where the one's subjects are among the other's. */
function equalPriorities(policies: readonly ClusterPolicy[], { snapshot }: LintWorld): Finding[] {
  const pods = [...snapshot.pods.values()].filter(isEligible);
  const subjectsOf = new Map(
    policies.map((policy) => [policy, new Set(pods.filter((pod) => isSubjectOf(snapshot, policy, pod) !== 'no'))]),
  );
  return policies.flatMap((policy): Finding[] => {
    const own = subjectsOf.get(policy)!;
    const others = policies.filter(
      (other) =>
        other.tier === policy.tier &&
        other.priority === policy.priority &&
        compareText(other.name, policy.name) < 0 &&
        DIRECTIONS.some((direction) => other[direction].length > 0 && policy[direction].length > 0) &&
        ([...own].some((pod) => subjectsOf.get(other)!.has(pod)) || isWithin(policy, other) || isWithin(other, policy)),
    );
    if (others.length === 0) return [];
    return [
      {
        check: 'equal-priority',
        object: objectOf(policy),
        path: ['spec', 'priority'],
        message: `${policy.priority} is the priority of ${others.map(({ name }) => name).join(', ')} as well, in tier ${policy.tier} for some of the same pods`,
        fix: 'give each policy of a tier a priority of its own, with room between them',
      },
    ];
  });
}

function isWithin({ subject: one }: ClusterPolicy, { subject: other }: ClusterPolicy): boolean {
  return selectorCovers(other.namespaces, one.namespaces) && selectorCovers(other.pods, one.pods);
}

/** Where the cluster's DNS is known, the evaluator says whom a rule of a tier keeps from it; once for each rule. */
function deniedDns(policies: readonly ClusterPolicy[], { snapshot }: LintWorld): Finding[] {
  if (policies.length === 0) return [];
  const pods = [...snapshot.pods.values()].filter(isEligible);
  const servers = pods.filter(({ namespace, labels }) => namespace === SYSTEM && labels['k8s-app'] === 'kube-dns');
  const owners = addressOwners(pods);
  const found = new Map<string, { readonly by: RuleRef; readonly mute: Pod[] }>();
  for (const pod of pods) {
    for (const server of servers) {
      const flow = {
        source: pod.addresses[0]!,
        destination: server.addresses[0]!,
        protocol: PROTOCOL_NUMBER.UDP,
        port: 53,
      };
      const connection = connectionOf(owners, flow);
      const denied = DIRECTIONS.map((direction) => judgeDirection(snapshot, direction, connection)).find(
        (verdict) => verdict.kind === 'tier-rule' && verdict.action === 'Deny',
      );
      if (denied?.kind !== 'tier-rule') continue;
      const { by } = denied;
      const key = `${by.policy.name} ${by.direction} ${by.index}`;
      const known = found.get(key) ?? { by, mute: [] };
      known.mute.push(pod);
      found.set(key, known);
      break;
    }
  }
  return [...found.values()].map(({ by, mute }): Finding => {
    const [first] = mute;
    return {
      check: 'denies-dns',
      object: { kind: 'ClusterNetworkPolicy', name: by.policy.name },
      path: ['spec', by.direction, by.index],
      message: `keeps ${counted(mute.length, 'pod')} from DNS, such as ${first!.namespace}/${first!.name}`,
      fix: `accept UDP and TCP port 53 of ${SYSTEM} in a rule before it`,
    };
  });
}

// -------------------------------------------------------------------------------------------------------- other API groups

/** What else has the name, or the purpose, of such a policy: by `apiVersion/kind`, what to write instead. */
const INSTEAD: Readonly<Record<string, string>> = {
  'networking.k8s.aws/v1alpha1/ClusterNetworkPolicy':
    'write the same with apiVersion policy.networking.k8s.io/v1alpha2 (domainNames by networks), and take this one away',
  'networking.k8s.aws/v1alpha1/ApplicationNetworkPolicy':
    'write a NetworkPolicy (networking.k8s.io/v1), with domain names by ipBlock, and take this one away',
  'policy.networking.k8s.io/v1alpha1/AdminNetworkPolicy':
    'write a ClusterNetworkPolicy (policy.networking.k8s.io/v1alpha2) with tier: Admin, and Accept in the place of Allow',
  'policy.networking.k8s.io/v1alpha1/BaselineAdminNetworkPolicy':
    'write a ClusterNetworkPolicy (policy.networking.k8s.io/v1alpha2) with tier: Baseline, and Accept in the place of Allow',
  'policy.networking.k8s.io/v1alpha1/ClusterNetworkPolicy': 'write apiVersion: policy.networking.k8s.io/v1alpha2',
};

/** Undefined: it is none of these. */
export function lintOtherGroup(raw: RawRecord): Finding | undefined {
  const { apiVersion, kind, metadata } = raw;
  const fix = INSTEAD[`${String(apiVersion)}/${String(kind)}`];
  if (fix === undefined) return undefined;
  const { name, namespace } = isRecord(metadata) ? metadata : {};
  const object = { kind: String(kind), name: String(name), ...(typeof namespace === 'string' ? { namespace } : {}) };
  if (isIgnored(raw, 'other-api-group')) return undefined;
  return { check: 'other-api-group', object, path: ['apiVersion'], message: `${String(apiVersion)} is not read`, fix };
}
