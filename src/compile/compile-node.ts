/** The door of this stage: (snapshot, node name) -> NodeIntent. */
import type { Family } from '../net/ip.ts';
import type { ClusterSnapshot, Direction, Policy, PolicyRef, Problem, Rule, RuleRef } from '../policy/model.ts';
import type { Clause, NodeIntent, PeerClause, PolicyClass, Subject } from './intent.ts';
import type { OwnedPod } from './peer-index.ts';

import { DIRECTIONS, objectKey } from '../policy/model.ts';
import { matches } from '../policy/selector.ts';

import { AddressSets } from './address-sets.ts';
import { PeerIndex } from './peer-index.ts';
import { splitPorts } from './ports.ts';

/**
 * Compiles what `nodeName` must enforce. Only policies that select a local pod are compiled (S-08).
 * Pods without an address, finished, on the host network or on another node are not subjects (S-64, S-70).
 */
export function compileNode(snapshot: ClusterSnapshot, nodeName: string): NodeIntent {
  const nodeAddresses = new Set(snapshot.nodes.get(nodeName)?.addresses ?? []);
  const index = new PeerIndex(snapshot, nodeAddresses);
  const isolating = policiesByNamespace(snapshot.policies.values());
  const classes = new Map<string, { direction: Direction; policies: readonly Policy[] }>();
  const subjects: Subject[] = [];
  const locals: OwnedPod[] = [];
  for (const owned of index.all()) {
    if (owned.pod.nodeName !== nodeName) continue;
    locals.push(owned);
    const subject = classify(owned, isolating.get(owned.pod.namespace) ?? [], classes);
    if (subject) subjects.push(subject);
  }
  const sets = new AddressSets(index, locals);
  const compiled = [...classes].map(([key, { direction, policies }]) => compileClass(key, direction, policies, sets));
  return {
    nodeName,
    subjects: subjects.sort((a, b) => compareText(a.pod, b.pod)),
    classes: compiled.sort((a, b) => compareText(a.key, b.key)),
    addressSets: sets.addressSets,
    endpointSets: sets.endpointSets,
    isLiveAddress: (address) => index.isLive(address),
    policyCount: snapshot.policies.size,
    problems: nodeAddressProblems(snapshot, nodeName, nodeAddresses),
  };
}

export function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function policiesByNamespace(policies: Iterable<Policy>): Map<string, Policy[]> {
  const byNamespace = new Map<string, Policy[]>();
  for (const policy of policies) {
    const list = byNamespace.get(policy.namespace);
    if (list) list.push(policy);
    else byNamespace.set(policy.namespace, [policy]);
  }
  for (const list of byNamespace.values()) list.sort((a, b) => compareText(a.name, b.name));
  return byNamespace;
}

/** The pod's class per direction (S-03), recorded in `classes`; undefined if it is isolated in neither. */
function classify(
  owned: OwnedPod,
  policies: readonly Policy[],
  classes: Map<string, { direction: Direction; policies: readonly Policy[] }>,
): Subject | undefined {
  const selecting = policies.filter((policy) => matches(policy.podSelector, owned.pod.labels));
  const found: Partial<Record<Direction, string>> = {};
  for (const direction of DIRECTIONS) {
    const applicable = selecting.filter((policy) => policy.isolates[direction]);
    if (applicable.length === 0) continue;
    const key = JSON.stringify([direction, ...applicable.map((policy) => [policy.namespace, policy.name])]);
    classes.set(key, { direction, policies: applicable });
    found[direction] = key;
  }
  if (Object.keys(found).length === 0) return undefined;
  return { pod: objectKey(owned.pod), addresses: owned.addresses, classes: found };
}

function compileClass(key: string, direction: Direction, policies: readonly Policy[], sets: AddressSets): PolicyClass {
  const clauses = policies.flatMap((policy) =>
    policy[direction].flatMap((rule, index) =>
      compileRule(policy, rule, { policy: refOf(policy), direction, index }, sets),
    ),
  );
  return { key, direction, policies: policies.map(refOf), clauses };
}

function refOf(policy: Policy): PolicyRef {
  return { namespace: policy.namespace, name: policy.name };
}

/** One rule is one clause per protocol with numeric ports, and one for its named ports. */
function compileRule(policy: Policy, rule: Rule, ref: RuleRef, sets: AddressSets): Clause[] {
  const ports = splitPorts(rule.ports);
  const selection = sets.select(policy.namespace, rule.peers);
  const peers = sets.peerClauses(selection);
  if (ports === 'any') return reachable([{ ref, ports: { kind: 'any' }, peers }]);
  const clauses: Clause[] = ports.numeric.map(({ protocol, ranges }) => ({
    ref,
    ports: { kind: 'ranges', protocol, ranges },
    peers,
  }));
  if (ports.named.length > 0) {
    // Egress resolves names on each destination, which is also the peer: one joined set (S-40, S-43, S-44).
    // Ingress resolves them on the selected pods; the peer is somebody else and keeps its own set.
    const clause: Clause =
      ref.direction === 'egress'
        ? { ref, ports: { kind: 'endpoints', set: sets.peerEndpoints(selection, ports.named) }, peers: ANY_PEER }
        : { ref, ports: { kind: 'endpoints', set: sets.subjectEndpoints(policy, ports.named) }, peers };
    clauses.push(clause);
  }
  return reachable(clauses);
}

const ANY_PEER: Readonly<Record<Family, PeerClause>> = { 4: { kind: 'any' }, 6: { kind: 'any' } };

function reachable(clauses: Clause[]): Clause[] {
  return clauses.filter((clause) => clause.peers[4].kind !== 'none' || clause.peers[6].kind !== 'none');
}

function nodeAddressProblems(
  snapshot: ClusterSnapshot,
  nodeName: string,
  nodeAddresses: ReadonlySet<string>,
): readonly Problem[] {
  const problems: Problem[] = [];
  for (const pod of snapshot.pods.values()) {
    if (pod.hostNetwork || pod.nodeName !== nodeName) continue;
    const clash = pod.addresses.find((address) => nodeAddresses.has(address));
    if (clash === undefined) continue;
    problems.push({
      object: { kind: 'Pod', namespace: pod.namespace, name: pod.name },
      field: 'status.podIPs',
      message: `${clash} is an address of node ${nodeName}; it is treated as the node's, not as this pod's`,
    });
  }
  return problems;
}
