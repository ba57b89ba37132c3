/** Whether what one rule lets through is all that another does: told by their terms, so "no" may also mean that it cannot be told. */
import type { ClusterPeer, ClusterRule, Peer, Policy, PortMatch, Requirement, Rule, Selector } from './model.ts';

import { cidrCovers } from '../net/cidr.ts';
import { isSameList } from '../core/compare.ts';
import { selectorKey } from './selector.ts';

/** Of rules of one namespace and direction, for the same pods. */
export function ruleCovers(one: Rule, other: Rule): boolean {
  return portsCover(one.ports, other.ports) && peersCover(one.peers, other.peers);
}

function portsCover(ports: Rule['ports'], others: Rule['ports']): boolean {
  if (ports === 'any') return true;
  return others !== 'any' && others.every((other) => ports.some((port) => portCovers(port, other)));
}

function portCovers(port: PortMatch, other: PortMatch): boolean {
  if (port.protocol !== other.protocol) return false;
  if (port.kind === 'named') return other.kind === 'named' && other.name === port.name;
  // A name stands for some port of its protocol.
  if (other.kind === 'named') return port.first === 0 && port.last === 65_535;
  return port.first <= other.first && other.last <= port.last;
}

function peersCover(peers: Rule['peers'], others: Rule['peers']): boolean {
  if (peers === 'any') return true;
  return others !== 'any' && others.every((other) => peers.some((peer) => peerCovers(peer, other)));
}

function peerCovers(peer: Peer, other: Peer): boolean {
  if (other.kind === 'nothing') return true;
  if (peer.kind === 'ip-block' && other.kind === 'ip-block') {
    if (!cidrCovers(peer.cidr, other.cidr)) return false;
    return peer.except.every(
      (hole) => !overlaps(hole, other.cidr) || other.except.some((each) => cidrCovers(each, hole)),
    );
  }
  if (peer.kind !== 'pods' || other.kind !== 'pods') return false;
  return namespacesCover(peer.namespaces, other.namespaces) && selectorCovers(peer.pods, other.pods);
}

type Block = (Peer & { readonly kind: 'ip-block' })['cidr'];

function overlaps(one: Block, other: Block): boolean {
  return cidrCovers(one, other) || cidrCovers(other, one);
}

function namespacesCover(one: Selector | 'own', other: Selector | 'own'): boolean {
  if (one === 'own' || other === 'own') return one === other || (one !== 'own' && isEverything(one));
  return selectorCovers(one, other);
}

function isEverything(selector: Selector): boolean {
  return selector.kind === 'all-of' && selector.requirements.length === 0;
}

/** Each term of the one is a term of the other as well. */
export function selectorCovers(one: Selector, other: Selector): boolean {
  if (other.kind === 'nothing') return true;
  if (one.kind === 'nothing') return false;
  return one.requirements.every((requirement) => other.requirements.some((each) => isSameTerm(requirement, each)));
}

function isSameTerm(one: Requirement, other: Requirement): boolean {
  return one.key === other.key && one.operator === other.operator && isSameList(one.values, other.values);
}

/**
 * Of cluster-wide policies of one tier and direction, for the same pods: whether all that a rule matches is matched by one of `earlier`. Each of
 * its peers is looked at with each of its ports, as several rules may share them. Returns the rules that do; empty: it cannot be told.
 */
export function coveringRules<T extends Pick<ClusterRule, 'ports' | 'peers'>>(
  earlier: readonly T[],
  { ports, peers }: Pick<ClusterRule, 'ports' | 'peers'>,
): readonly T[] {
  const found = new Set<T>();
  for (const peer of peers === 'any' ? [undefined] : peers) {
    for (const port of ports === 'any' ? [undefined] : ports) {
      const by = earlier.find((each) => coversPair(each, peer, port));
      if (!by) return [];
      found.add(by);
    }
  }
  return [...found];
}

/** Undefined: every peer, every port. */
function coversPair(
  { ports, peers }: Pick<ClusterRule, 'ports' | 'peers'>,
  peer: ClusterPeer | undefined,
  port: PortMatch | undefined,
): boolean {
  if (!portsCover(ports, port === undefined ? 'any' : [port])) return false;
  if (peers === 'any') return true;
  if (peer === undefined) return false;
  // A name is that of a pod's port, whatever block its address is in (N-55).
  const isNamed = port?.kind === 'named' && ports !== 'any';
  if (!isNamed && isEverywhere(peers)) return true;
  return peers.some((each) => {
    if (each.kind === 'nodes' || peer.kind === 'nodes')
      return each.kind === 'nodes' && peer.kind === 'nodes' && selectorCovers(each.nodes, peer.nodes);
    return peerCovers(each, peer);
  });
}

/** All addresses of both families. */
function isEverywhere(peers: readonly ClusterPeer[]): boolean {
  return [4, 6].every((family) =>
    peers.some((peer) => peer.kind === 'ip-block' && peer.cidr.family === family && peer.cidr.prefixLength === 0),
  );
}

/** Whether terms of a selector exclude each other: whatever has the labels, it does not match. */
export function contradicts(selector: Selector): boolean {
  if (selector.kind === 'nothing') return false;
  const byKey = Map.groupBy(selector.requirements, ({ key }) => key);
  return [...byKey.values()].some((terms) => {
    const needs = terms.some(({ operator }) => operator === 'In' || operator === 'Exists');
    if (needs && terms.some(({ operator }) => operator === 'DoesNotExist')) return true;
    const lists = terms.flatMap(({ operator, values }) => (operator === 'In' ? [values] : []));
    const excluded = new Set(terms.flatMap(({ operator, values }) => (operator === 'NotIn' ? values : [])));
    const left = lists[0]?.filter((value) => lists.every((list) => list.includes(value)) && !excluded.has(value));
    return left?.length === 0;
  });
}

/** The same text for policies of one namespace that say the same, whatever their order and names. */
export function policyMeaning({ namespace, podSelector, isolates, ingress, egress }: Policy): string {
  const portKey = (port: PortMatch): string => JSON.stringify(port);
  const peerKey = (peer: Peer): string =>
    peer.kind === 'pods'
      ? JSON.stringify([peer.namespaces === 'own' ? 'own' : selectorKey(peer.namespaces), selectorKey(peer.pods)])
      : JSON.stringify(peer);
  const listKey = <T>(list: readonly T[] | 'any', key: (each: T) => string): unknown =>
    list === 'any' ? list : [...new Set(list.map(key))].sort();
  const ruleKeys = (rules: readonly Rule[]): string[] =>
    [
      ...new Set(rules.map(({ ports, peers }) => JSON.stringify([listKey(ports, portKey), listKey(peers, peerKey)]))),
    ].sort();
  return JSON.stringify([namespace, selectorKey(podSelector), isolates, ruleKeys(ingress), ruleKeys(egress)]);
}
