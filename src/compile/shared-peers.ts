/**
 * Rules that always apply together need not be asked one after another: together they let in the union of what each lets in, and one set
 * can hold it. A set that is asked costs the first packet of a flow 110 to 160 ns, whatever it holds, and a rule for another port about
 * 17. Where a class has many of them, these are put together, one step after the other:
 *
 *   more than MAX_OWN_SETS      1. same pods in the same words, same ports      one set of peers
 *                               2. policies that occur together, same ports     one set of peers
 *   more than MAX_OWN_PORTS     3. ... same peers                               one rule for all the ports
 *                               4. ... pods as peers, few ports                 one set of (peer, port)
 *
 * Equal selectors select the same pods, now and later, so what step 1 puts together depends on policies alone: pods that come and go
 * change no rule. Other policies occur together as long as no local pod is selected by only some of them; the first such pod parts them,
 * and classes it is not in get other sets and are written anew. Step 1 keeps that rare: what it has put together is one in the steps
 * after it, which so take many different selectors that select the same local pods.
 *
 * A rule is in one group at most, the same in every class its policy is in, so no two sets of the node hold one rule's peers.
 */
import type { Direction, Peer, Policy } from '../policy/model.ts';

import { formatCidr } from '../net/cidr.ts';
import { mergePortRanges } from '../net/port-range.ts';
import { PROTOCOL_NUMBER } from '../policy/model.ts';
import { selectorKey } from '../policy/selector.ts';

import { splitPorts } from './ports.ts';

/**
 * Up to this many rules keep a set each: such sets are shared with other pods whose policies name the same peers, show in the rules'
 * counters who was let in by which, and are not filled anew when another of the policies changes.
 */
export const MAX_OWN_SETS = 4;
/** Up to this many rules are asked for their ports, which costs about what one set of (peer, port) does. */
export const MAX_OWN_PORTS = 8;
/** A peer is in a set of (peer, port) once per port. Above this many for the same peers a set of peers and a rule take less room. */
const MAX_PORTS_PER_PEER = 4;

export interface SharingLimits {
  readonly ownSets: number;
  readonly ownPorts: number;
}

const LIMITS: SharingLimits = { ownSets: MAX_OWN_SETS, ownPorts: MAX_OWN_PORTS };
/** Each rule for itself. */
export const NOTHING_SHARED: SharingLimits = { ownSets: Number.POSITIVE_INFINITY, ownPorts: Number.POSITIVE_INFINITY };

/** The ports of one clause; equal ports, equal text. */
export type NumericPorts = Exclude<ReturnType<typeof splitPorts>, 'any'>['numeric'][number] | 'any';

export type Peers = readonly Peer[] | 'any';

/** What a rule allows by number: all of the ports to all of the peers, or each port, such as `6:8080`, to peers of its own. */
export type Allowed =
  | { readonly ports: NumericPorts; readonly peers: Peers }
  | { readonly peersByPort: ReadonlyMap<string, readonly Peer[]> };

/** What a rule and those it is put together with allow; undefined: it is alone. `place`: of its policy in the class. */
export type SharedBy = (place: number, index: number, ports: NumericPorts) => Allowed | undefined;

/** One rule's ports of one protocol, or several of these put together. */
interface Group {
  readonly ports: NumericPorts;
  readonly peers: Peers;
  /** Of one of its policies. */
  readonly selector: string;
  readonly together: number;
  readonly rules: readonly string[];
}

/** `policies` are of one namespace; equal numbers in `together` are policies that occur together (see Occurrences). */
export function shareSets(
  policies: readonly Policy[],
  direction: Direction,
  together: readonly number[],
  limits = LIMITS,
): SharedBy {
  const shared = new Map<string, Allowed>();
  const share = (groups: readonly Group[], allowed: Allowed): void => {
    for (const { rules } of groups) for (const rule of rules) shared.set(rule, allowed);
  };
  const groups = withSamePorts(rulesOf(policies, direction, together), limits.ownSets);
  for (const alike of Map.groupBy(groups, (group) => group.together).values()) {
    const isCrowd = alike.length > limits.ownPorts;
    const left = isCrowd ? withSamePeers(alike) : alike;
    for (const group of left) if (group.rules.length > 1) share([group], group);
    const joint = isCrowd ? withFewPorts(left) : [];
    if (joint.length > limits.ownPorts) share(joint, byPort(joint));
  }
  return (place, index, ports) => (shared.size === 0 ? undefined : shared.get(ruleKey(place, index, ports)));
}

function rulesOf(policies: readonly Policy[], direction: Direction, together: readonly number[]): readonly Group[] {
  return policies.flatMap((policy, place) => {
    const selector = selectorKey(policy.podSelector);
    return policy[direction].flatMap(({ ports, peers }, index) =>
      numericPorts(ports).map((each) => ({
        ports: each,
        peers,
        selector,
        together: together[place]!,
        rules: [ruleKey(place, index, each)],
      })),
    );
  });
}

function numericPorts(ports: Parameters<typeof splitPorts>[0]): readonly NumericPorts[] {
  const split = splitPorts(ports);
  return split === 'any' ? [split] : split.numeric;
}

function ruleKey(place: number, index: number, ports: NumericPorts): string {
  return `${place} ${index} ${ports === 'any' ? ports : ports.protocol}`;
}

/** Steps 1 and 2. */
function withSamePorts(rules: readonly Group[], ownSets: number): readonly Group[] {
  if (rules.length <= ownSets) return rules;
  const samePods = joinMany(rules, ownSets, ({ selector, ports }) => JSON.stringify([selector, ports]));
  return joinMany(samePods, ownSets, (group) => JSON.stringify([group.together, group.ports]));
}

/** Step 3. */
function withSamePeers(groups: readonly Group[]): readonly Group[] {
  return joinMany(groups, 1, ({ ports, peers }) =>
    JSON.stringify([ports === 'any' ? ports : ports.protocol, peersKey(peers)]),
  );
}

/** What step 4 puts together. */
function withFewPorts(groups: readonly Group[]): readonly Group[] {
  const ofPods = groups.filter(({ ports, peers }) => ports !== 'any' && arePods(peers));
  const samePeers = Map.groupBy(ofPods, ({ peers }) => peersKey(peers));
  return [...samePeers.values()].filter((alike) => portCount(alike) <= MAX_PORTS_PER_PEER).flat();
}

/** Groups of one key become one where there are more than `most` of them. They have the same ports or the same peers. */
function joinMany(groups: readonly Group[], most: number, keyOf: (group: Group) => string): readonly Group[] {
  return [...Map.groupBy(groups, keyOf).values()].flatMap((alike) => (alike.length > most ? [joined(alike)] : alike));
}

function joined(groups: readonly Group[]): Group {
  return {
    ...groups[0]!,
    ports: unionOfPorts(groups),
    peers: unionOfPeers(groups),
    rules: groups.flatMap(({ rules }) => rules),
  };
}

/** Of groups for one protocol, or all of them for any. */
function unionOfPorts(groups: readonly Group[]): NumericPorts {
  const { ports } = groups[0]!;
  if (ports === 'any') return ports;
  const ranges = groups.flatMap((group) => (group.ports === 'any' ? [] : group.ports.ranges));
  return { protocol: ports.protocol, ranges: mergePortRanges(ranges) };
}

function unionOfPeers(groups: readonly Group[]): Peers {
  const peers = new Map<string, Peer>();
  for (const each of groups) {
    if (each.peers === 'any') return 'any';
    for (const peer of each.peers) peers.set(peerKey(peer), peer);
  }
  return [...peers.values()];
}

function byPort(groups: readonly Group[]): Allowed {
  const peersByPort = new Map<string, readonly Peer[]>();
  for (const { ports, peers } of groups) {
    if (ports === 'any' || peers === 'any') continue;
    for (const port of portsOf(ports)) peersByPort.set(port, [...(peersByPort.get(port) ?? []), ...peers]);
  }
  return { peersByPort };
}

function arePods(peers: Peers): boolean {
  return peers !== 'any' && peers.some(({ kind }) => kind === 'pods') && !peers.some(({ kind }) => kind === 'ip-block');
}

function portCount(groups: readonly Group[]): number {
  return groups
    .flatMap(({ ports }) => (ports === 'any' ? [] : ports.ranges))
    .reduce((sum, { first, last }) => sum + last - first + 1, 0);
}

/** Protocol number and port, one by one. */
function portsOf({ protocol, ranges }: Exclude<NumericPorts, 'any'>): readonly string[] {
  return ranges.flatMap(({ first, last }) =>
    Array.from({ length: last - first + 1 }, (_, offset) => `${PROTOCOL_NUMBER[protocol]}:${first + offset}`),
  );
}

/** Equal text for equal entries, in any order; entries that mean the same in other words differ. */
function peersKey(peers: Peers): string {
  if (peers === 'any') return peers;
  return JSON.stringify([...new Set(peers.map(peerKey))].sort());
}

function peerKey(peer: Peer): string {
  switch (peer.kind) {
    case 'pods': {
      const namespaces = peer.namespaces === 'own' ? peer.namespaces : selectorKey(peer.namespaces);
      return JSON.stringify([namespaces, selectorKey(peer.pods)]);
    }
    case 'ip-block':
      return JSON.stringify([peer.cidr, ...peer.except].map(formatCidr));
    case 'nothing':
      return peer.kind;
  }
}
