/**
 * Rules that always apply together need not be asked one after another: together they let in the union of what each lets in, and one set
 * can hold it. A set that is asked costs the first packet of a flow 110 to 160 ns, whatever it holds, and a rule for another port about
 * 17. Where a program has many of them, these are put together, one step after the other:
 *
 *   more than MAX_OWN_SETS      1. same pods in the same words, same ports      one set of peers
 *                               2. policies that are co-selected, same ports    one set of peers
 *   more than MAX_OWN_PORTS     3. ... same peers                               one rule for all the ports
 *                               4. ... pods as peers, few ports                 one set of (peer, port)
 *                               5. ... blocks as peers, few ports               one set of (block, port)
 *
 * Equal selectors select the same pods, now and later, so what step 1 puts together depends on policies alone: pods that come and go
 * change no rule. Other policies are co-selected as long as no local pod is selected by only some of them; the first such pod parts them,
 * and programs it is not in get other sets and are written anew. Step 1 keeps that rare: what it has put together is one in the steps
 * after it, which so take many different selectors that select the same local pods.
 *
 * A rule is in one group at most, the same in every program its policy is in, so no two sets of the node hold one rule's peers. Rules
 * that allow ports by name go through the same steps among themselves, but for the last.
 *
 * A namespace's owner decides how many rules there are: every step is linear in their size, and gives one answer for all the rules it
 * puts together, with their origins.
 */
import type { PortRange } from '../net/port-range.ts';
import type { Direction } from '../core/vocabulary.ts';
import type { Peer, Policy } from '../policy/model.ts';
import type { NamedPortRef } from './ports.ts';
import type { Sliced } from '../core/sliced.ts';

import { mergePortRanges } from '../net/port-range.ts';
import { PROTOCOL_NUMBER } from '../core/vocabulary.ts';

import { distinctNames } from './ports.ts';
import { type NumericPorts, type Peers, type Ports, RuleTexts } from './rule-texts.ts';

/**
 * Up to this many rules keep a set each: such sets are shared with other pods whose policies name the same peers, show in the rules'
 * counters who was let in by which, and are not filled anew when another of the policies changes.
 */
export const MAX_OWN_SETS = 4;
/** Up to this many rules are asked for their ports, which costs about what one set of (peer, port) does. */
export const MAX_OWN_PORTS = 8;
/** A peer is in a set of (peer, port) once per port. Above this many for the same peers a set of peers and a rule take less room. */
const MAX_PORTS_PER_PEER = 4;
/** The same of blocks, of which there are as many as are written: pods can be thousands for one selector. */
const MAX_PORTS_PER_BLOCK = 16;
const RULES_PER_STEP = 200;

export interface SharingLimits {
  readonly ownSets: number;
  readonly ownPorts: number;
}

const LIMITS: SharingLimits = { ownSets: MAX_OWN_SETS, ownPorts: MAX_OWN_PORTS };
/** Whatever can be one is one: for programs that would have too many rules otherwise. */
export const MOST_SHARED: SharingLimits = { ownSets: 1, ownPorts: 1 };

/** What rules allow: all of the ports to all of the peers, or each port, such as `6:8080`, to peers of its own. */
export type Allowed =
  | { readonly kind: 'numeric'; readonly ports: NumericPorts; readonly peers: Peers }
  /** `selectedBy`: place in the program of a policy that selects the pods whose ports they are, for ingress. */
  | {
      readonly kind: 'named';
      readonly names: readonly NamedPortRef[];
      readonly peers: Peers;
      readonly selectedBy: number;
    }
  /** The peers are all pods, or all blocks. */
  | {
      readonly kind: 'by-port';
      readonly peers: 'pods' | 'blocks';
      readonly peersByPort: ReadonlyMap<string, readonly Peer[]>;
    };

/** Of a policy, what matters here. */
export type RulesOfPolicy = Pick<Policy, 'podSelector' | Direction>;

/** A policy rule: the place of its policy in the program, and its index. */
export interface Origin {
  readonly place: number;
  readonly index: number;
}

interface MergedRule {
  readonly allowed: Allowed;
  /** Ascending, without duplicates. */
  readonly by: readonly Origin[];
}

/** One rule's ports of one protocol, or its named ports, or several of these put together. */
interface Group {
  readonly ports: Ports;
  readonly peers: Peers;
  /** Of one of its policies: equal numbers, equal selectors. */
  readonly selector: number;
  readonly coSelected: number;
  /** The first is the first rule of the group. */
  readonly by: readonly Origin[];
}

/**
 * What the rules of a program allow, in the order of the first rule each stands for. `policies` are of one namespace; equal numbers in
 * `coSelected` are policies that are co-selected (see CoSelection).
 */
export function* mergeRules(
  policies: readonly RulesOfPolicy[],
  direction: Direction,
  coSelected: readonly number[],
  limits = LIMITS,
  texts = new RuleTexts(),
): Sliced<readonly MergedRule[]> {
  const { numeric, named } = yield* rulesOf(policies, direction, coSelected, texts);
  const merged = [...(yield* merge(numeric, limits, texts)), ...(yield* merge(named, limits, texts))];
  return merged.sort((a, b) => byOrigin(a.by[0]!, b.by[0]!));
}

function byOrigin(a: Origin, b: Origin): number {
  return a.place - b.place || a.index - b.index;
}

/** Sorted, without duplicates. */
export function distinctOrigins(origins: readonly Origin[]): readonly Origin[] {
  if (origins.length < 2) return origins;
  const sorted = origins.toSorted(byOrigin);
  return sorted.filter((origin, at) => at === 0 || byOrigin(sorted[at - 1]!, origin) !== 0);
}

function* merge(rules: readonly Group[], limits: SharingLimits, texts: RuleTexts): Sliced<MergedRule[]> {
  const merged: MergedRule[] = [];
  const groups = yield* withSamePorts(rules, limits.ownSets, texts);
  for (const alike of Map.groupBy(groups, (group) => group.coSelected).values()) {
    if (alike.length > limits.ownPorts)
      yield* mergeCrowd(yield* withSamePeers(alike, texts), limits.ownPorts, merged, texts);
    else for (const group of alike) merged.push(mergedRule(allowedBy(group), [group]));
  }
  return merged;
}

/** Steps 4 and 5. A group whose peers are pods and blocks may be in both. */
function* mergeCrowd(groups: readonly Group[], ownPorts: number, merged: MergedRule[], texts: RuleTexts): Sliced<void> {
  const split = new Map(groups.map((group) => [group, new Map<PeerKind, Group>()]));
  for (const kind of PEER_KINDS) {
    const few = withFewPorts(groups, kind, texts);
    yield;
    if (few.length <= ownPorts) continue;
    const parts = few.map((group) => partOf(group, kind));
    for (const [at, group] of few.entries()) split.get(group)!.set(kind, parts[at]!);
    merged.push(mergedRule(yield* byPort(parts, kind), parts));
    yield;
  }
  for (const [group, taken] of split) {
    if (taken.size === 0) merged.push(mergedRule(allowedBy(group), [group]));
    else if (taken.size < PEER_KINDS.length) {
      const other = partOf(group, taken.has('pods') ? 'blocks' : 'pods');
      if (other.peers.length > 0) merged.push(mergedRule(allowedBy(other), [other]));
    }
  }
}

type PeerKind = 'pods' | 'blocks';
const PEER_KINDS = ['pods', 'blocks'] as const satisfies readonly PeerKind[];

function isOfKind(peer: Peer, kind: PeerKind): boolean {
  return kind === 'pods' ? peer.kind === 'pods' : peer.kind === 'ip-block';
}

/** What the group lets in of one kind of peers. */
function partOf(group: Group, kind: PeerKind): Group & { readonly peers: readonly Peer[] } {
  const peers = group.peers === 'any' ? [] : group.peers.filter((peer) => isOfKind(peer, kind));
  return { ...group, peers };
}

function mergedRule(allowed: Allowed, groups: readonly Group[]): MergedRule {
  return { allowed, by: distinctOrigins(groups.flatMap(({ by }) => by)) };
}

function allowedBy({ ports, peers, by }: Group): Allowed {
  if (isNamed(ports)) return { kind: 'named', names: ports.names, peers, selectedBy: by[0]!.place };
  return { kind: 'numeric', ports, peers };
}

function isNamed(ports: Ports): ports is Exclude<Ports, NumericPorts> {
  return ports !== 'any' && 'names' in ports;
}

function* rulesOf(
  policies: readonly RulesOfPolicy[],
  direction: Direction,
  coSelected: readonly number[],
  texts: RuleTexts,
): Sliced<{ readonly numeric: readonly Group[]; readonly named: readonly Group[] }> {
  const selectors = new Map<string, number>();
  let count = 0;
  const numeric: Group[] = [];
  const named: Group[] = [];
  for (const [place, policy] of policies.entries()) {
    const selector = numbered(selectors, texts.selector(policy.podSelector));
    for (const [index, { ports, peers }] of policy[direction].entries()) {
      const common = { peers, selector, coSelected: coSelected[place]!, by: [{ place, index }] };
      if (++count % RULES_PER_STEP === 0) yield;
      for (const each of texts.split(ports)) (isNamed(each) ? named : numeric).push({ ports: each, ...common });
    }
  }
  return { numeric, named };
}

function numbered(numbers: Map<string, number>, text: string): number {
  const number = numbers.get(text) ?? numbers.size;
  numbers.set(text, number);
  return number;
}

/** Steps 1 and 2. */
function* withSamePorts(rules: readonly Group[], ownSets: number, texts: RuleTexts): Sliced<readonly Group[]> {
  if (rules.length <= ownSets) return rules;
  const samePods = yield* joinMany(rules, ownSets, texts, ({ selector, ports }) => `${selector} ${texts.ports(ports)}`);
  return yield* joinMany(samePods, ownSets, texts, (group) => `${group.coSelected} ${texts.ports(group.ports)}`);
}

/** Step 3. */
function* withSamePeers(groups: readonly Group[], texts: RuleTexts): Sliced<readonly Group[]> {
  return yield* joinMany(groups, 1, texts, ({ ports, peers }) => `${protocolOf(ports)} ${texts.peers(peers)}`);
}

/** What steps 4 and 5 put together: groups with peers of that kind, and few ports for the same peers. */
function withFewPorts(groups: readonly Group[], kind: PeerKind, texts: RuleTexts): readonly Group[] {
  const most = kind === 'pods' ? MAX_PORTS_PER_PEER : MAX_PORTS_PER_BLOCK;
  const usable = groups.filter(({ ports, peers }) => {
    if (ports === 'any' || isNamed(ports) || peers === 'any') return false;
    return portCount(ports) <= most && peers.some((peer) => isOfKind(peer, kind));
  });
  const samePeers = Map.groupBy(usable, ({ peers }) => texts.peers(peers));
  const count = (alike: readonly Group[]): number => alike.reduce((sum, { ports }) => sum + portCount(ports), 0);
  return [...samePeers.values()].filter((alike) => count(alike) <= most).flat();
}

/** Groups of one key become one where there are more than `most` of them. They have the same ports or the same peers. */
function* joinMany(
  groups: readonly Group[],
  most: number,
  texts: RuleTexts,
  keyOf: (group: Group) => string,
): Sliced<readonly Group[]> {
  const byKey = new Map<string, Group[]>();
  for (const [at, group] of groups.entries()) {
    const key = keyOf(group);
    const alike = byKey.get(key);
    if (alike) alike.push(group);
    else byKey.set(key, [group]);
    if (at % RULES_PER_STEP === 0) yield;
  }
  return [...byKey.values()].flatMap((alike) => (alike.length > most ? [joined(alike, texts)] : alike));
}

function joined(groups: readonly Group[], texts: RuleTexts): Group {
  return {
    ...groups[0]!,
    ports: unionOfPorts(groups.map(({ ports }) => ports)),
    peers: unionOfPeers(groups, texts),
    by: groups.flatMap(({ by }) => by),
  };
}

/** Of ports of one protocol, or named ones, or all of them any. */
function unionOfPorts(all: readonly Ports[]): Ports {
  const [first] = all;
  if (first === undefined || first === 'any') return 'any';
  if (isNamed(first)) return { names: distinctNames(all.flatMap((ports) => (isNamed(ports) ? ports.names : []))) };
  return { protocol: first.protocol, ranges: mergePortRanges(all.flatMap(rangesOf)) };
}

function rangesOf(ports: Ports): readonly PortRange[] {
  return ports === 'any' || isNamed(ports) ? [] : ports.ranges;
}

function unionOfPeers(groups: readonly Group[], texts: RuleTexts): Peers {
  const peers = new Map<string, Peer>();
  const seen = new Set<Peers>();
  for (const each of groups) {
    if (each.peers === 'any') return 'any';
    if (seen.has(each.peers)) continue;
    seen.add(each.peers);
    for (const peer of each.peers) peers.set(texts.peer(peer), peer);
  }
  return [...peers.values()];
}

function* byPort(groups: readonly Group[], kind: PeerKind): Sliced<Allowed> {
  const peersByPort = new Map<string, Peer[]>();
  for (const [at, { ports, peers }] of groups.entries()) {
    if (at % RULES_PER_STEP === 0) yield;
    if (ports === 'any' || isNamed(ports) || peers === 'any') continue;
    for (const port of portsOf(ports)) {
      const known = peersByPort.get(port);
      if (known) for (const peer of peers) known.push(peer);
      else peersByPort.set(port, [...peers]);
    }
  }
  return { kind: 'by-port', peers: kind, peersByPort };
}

function portCount(ports: Ports): number {
  return rangesOf(ports).reduce((sum, { first, last }) => sum + last - first + 1, 0);
}

/** Protocol number and port, one by one. */
function portsOf({ protocol, ranges }: Exclude<NumericPorts, 'any'>): readonly string[] {
  return ranges.flatMap(({ first, last }) =>
    Array.from({ length: last - first + 1 }, (_, offset) => `${PROTOCOL_NUMBER[protocol]}:${first + offset}`),
  );
}

function protocolOf(ports: Ports): string {
  if (ports === 'any') return ports;
  return isNamed(ports) ? 'named' : ports.protocol;
}
