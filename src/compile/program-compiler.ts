/** One program of policies -> what it lets through, and a plan of the sets that speaks of. */
import type { Direction, Family } from '../core/vocabulary.ts';
import type { PortRange } from '../net/port-range.ts';
import type { Policy, PolicyRef, RuleRef } from '../policy/model.ts';
import type { FamilyPeers, LetsThrough } from './rule-list.ts';
import type { CompiledRule, Program, PortClause } from './intent.ts';
import type { NamedPortRef } from './ports.ts';
import type { RuleReader } from './read-rules.ts';
import type { Sliced } from '../core/sliced.ts';

import { selectorKey } from '../policy/selector.ts';
import { networkPolicyStage } from './program.ts';
import { RuleList } from './rule-list.ts';
import { type NumericPorts, type Peers, RuleTexts } from './rule-texts.ts';
import {
  type PeerUnion,
  type SetPlan,
  blockEndpoints,
  addressPortKeys,
  peerClause,
  peerEndpoints,
  portEndpoints,
  portsAnywhere,
  selectPeers,
} from './peer-sets.ts';
import { type Allowed, MOST_SHARED, type RulesOfPolicy, type SharingLimits, mergeRules } from './shared-peers.ts';

/** A program that a local pod is in; the policies are of one namespace and sorted by name. */
export interface NeededProgram {
  readonly key: string;
  readonly direction: Direction;
  readonly policies: readonly Policy[];
  /** Which policies these are, of this direction: a policy that is not the same for all pods has more than one such name. */
  readonly names: readonly string[];
}

/** Ingress named ports: whose ports, and which. */
export interface EndpointPorts {
  readonly keys: Readonly<Record<Family, string>>;
  readonly policy: Policy;
  readonly names: readonly NamedPortRef[];
}

export interface CompiledProgram {
  readonly policies: readonly Policy[];
  /** Which of them are co-selected; see CoSelection. */
  readonly coSelected: readonly number[];
  readonly value: Program;
  /** Keys of the sets it speaks of, but for those of `endpointPorts`. */
  readonly setKeys: readonly string[];
  /** How to make them; empty once they are made. */
  readonly plan: SetPlan;
  readonly endpointPorts: readonly EndpointPorts[];
  /** Of all its sets, each once. */
  readonly allKeys: readonly string[];
  /** Of its chain in one family, at most. */
  readonly ruleCount: number;
}

/** xt_multiport XT_MULTI_PORTS: a rule takes so many ports; a range counts twice. */
const PORTS_PER_RULE = 15;
/** A rule for ports costs a packet about 20 ns, a set about 130. */
const MAX_PORT_RULES = 8;
/** A set has each port by itself. */
const MAX_PORTS_PER_SLOT = 4;
/** What a policy costs besides its rules, as if it were so many bytes of them. */
export const BYTES_OF_POLICY = 50;
const BYTES_OF_RULE = 50;
const MERGED_PER_STEP = 100;

export const ANY_PEER: FamilyPeers = { 4: { kind: 'any' }, 6: { kind: 'any' } };

export class ProgramCompiler {
  readonly #rules: RuleReader;
  readonly #limits: SharingLimits | undefined;
  readonly #texts = new RuleTexts();
  readonly #refs = {
    ingress: new WeakMap<Policy, readonly RuleRef[]>(),
    egress: new WeakMap<Policy, readonly RuleRef[]>(),
  };

  constructor(rules: RuleReader, limits: SharingLimits | undefined) {
    this.#rules = rules;
    this.#limits = limits;
  }

  /** What there is to compile, in bytes of rules; where these are not kept as text, about what they would be. */
  bytesOf({ direction, policies }: NeededProgram): number {
    return policies.reduce((sum, policy) => {
      const bytes = policy.ruleBytes ?? this.#rules.read(policy)[direction].length * BYTES_OF_RULE;
      return sum + BYTES_OF_POLICY + bytes;
    }, 0);
  }

  /** With more than `mostRules` rules all that can be put together is, whatever it costs other programs. */
  *compile(needed: NeededProgram, coSelected: readonly number[], mostRules: number): Sliced<CompiledProgram> {
    const compiled = yield* this.#compileWith(needed, coSelected, this.#limits);
    if (compiled.ruleCount <= mostRules || this.#limits) return compiled;
    // Rules of one program: whether their policies are co-selected elsewhere says only whether other programs can use the same sets.
    const alone = needed.policies.map(() => 0);
    return { ...(yield* this.#compileWith(needed, alone, MOST_SHARED)), coSelected };
  }

  *#compileWith(
    needed: NeededProgram,
    coSelected: readonly number[],
    limits: SharingLimits | undefined,
  ): Sliced<CompiledProgram> {
    const { key, direction, policies } = needed;
    const plan: SetPlan = new Map();
    const endpointPorts: EndpointPorts[] = [];
    const list = new RuleList();
    const peerClauses = new Map<Peers, FamilyPeers>();
    let count = 0;
    const read: RulesOfPolicy[] = [];
    for (const policy of policies) {
      read.push({ podSelector: policy.podSelector, ...this.#rules.read(policy) });
      yield;
    }
    for (const { allowed, by } of yield* mergeRules(read, direction, coSelected, limits, this.#texts)) {
      list.add(yield* letsThrough(needed, allowed, plan, endpointPorts, peerClauses), by);
      if (++count % MERGED_PER_STEP === 0) yield;
    }
    const refs = policies.map((policy, place) => this.#refsOf(policy, direction, read[place]![direction].length));
    const rules = list.list(({ place, index }) => refs[place]![index]!);
    const value = { key, direction, policies: policies.map(refOf), stages: [networkPolicyStage(rules)] };
    const setKeys = [...plan.keys()];
    const allKeys = [...new Set([...setKeys, ...endpointPorts.flatMap(({ keys }) => [keys[4], keys[6]])])];
    return { policies, coSelected, value, setKeys, plan, endpointPorts, allKeys, ruleCount: ruleCount(rules) };
  }

  /** One object per rule, whatever the number of programs its policy is in. */
  #refsOf(policy: Policy, direction: Direction, count: number): readonly RuleRef[] {
    const known = this.#refs[direction].get(policy);
    if (known) return known;
    const ref = refOf(policy);
    const refs = Array.from({ length: count }, (_, index) => ({ policy: ref, direction, index }));
    this.#refs[direction].set(policy, refs);
    return refs;
  }
}

export function refOf(policy: Policy): PolicyRef {
  return { namespace: policy.namespace, name: policy.name };
}

/** What rules that are put together let through. `peerClauses`: those made so far. */
function* letsThrough(
  { direction, policies }: NeededProgram,
  allowed: Allowed,
  plan: SetPlan,
  endpointPorts: EndpointPorts[],
  peerClauses: Map<Peers, FamilyPeers>,
): Sliced<LetsThrough> {
  const { namespace } = policies[0]!;
  if (allowed.kind === 'by-port') return yield* letsThroughByPort(namespace, direction, allowed, plan);
  const { peers } = allowed;
  // Egress resolves names on each destination, which is also the peer: one joined set (S-40, S-43, S-44).
  if (allowed.kind === 'named' && direction === 'egress') {
    const set = peerEndpoints(selectPeers(namespace, peers), allowed.names, plan);
    return { ports: { kind: 'address-port', set, address: 'destination' }, peers: ANY_PEER };
  }
  const known = peerClauses.get(peers) ?? peerClausesOf(selectPeers(namespace, peers), plan);
  peerClauses.set(peers, known);
  if (allowed.kind === 'numeric') return { ports: portClause(allowed.ports, plan), peers: known };
  // Ingress resolves them on the selected pods; the peer is somebody else and keeps its own set.
  const { names, selectedBy } = allowed;
  const policy = policies[selectedBy]!;
  const set = addressPortKeys(['subjects', namespace, selectorKey(policy.podSelector), names]);
  endpointPorts.push({ keys: set, policy, names });
  return { ports: { kind: 'address-port', set, address: 'destination' }, peers: known };
}

export function* letsThroughByPort(
  namespace: string,
  direction: Direction,
  { peers, peersByPort }: Extract<Allowed, { kind: 'by-port' }>,
  plan: SetPlan,
): Sliced<LetsThrough> {
  const unions: (readonly [string, PeerUnion])[] = [];
  for (const [port, each] of peersByPort) {
    unions.push([port, selectPeers(namespace, each)]);
    if (unions.length % MERGED_PER_STEP === 0) yield;
  }
  const address = direction === 'ingress' ? 'source' : 'destination';
  if (peers === 'pods') {
    return { ports: { kind: 'address-port', set: portEndpoints(unions, plan), address }, peers: ANY_PEER };
  }
  const { set, families } = yield* blockEndpoints(unions, plan);
  const inFamily = (family: Family): FamilyPeers[Family] => ({ kind: families.includes(family) ? 'any' : 'none' });
  return { ports: { kind: 'address-port', set, address }, peers: { 4: inFamily(4), 6: inFamily(6) } };
}

/** Where rules for them would be many, and the ports are no more than a few times as many as their ranges, they are a set. */
export function portClause(ports: NumericPorts, plan: SetPlan): PortClause {
  if (ports === 'any') return { kind: 'any' };
  const { protocol, ranges } = ports;
  const slots = slotCount(ranges);
  const count = ranges.reduce((sum, { first, last }) => sum + last - first + 1, 0);
  if (slots <= MAX_PORT_RULES * PORTS_PER_RULE || count > MAX_PORTS_PER_SLOT * slots)
    return { kind: 'ranges', ...ports };
  return { kind: 'address-port', set: portsAnywhere(protocol, ranges, plan), address: 'destination' };
}

function slotCount(ranges: readonly PortRange[]): number {
  return ranges.reduce((sum, { first, last }) => sum + (first === last ? 1 : 2), 0);
}

export function peerClausesOf(union: PeerUnion, plan: SetPlan): FamilyPeers {
  return { 4: peerClause(union, 4, plan), 6: peerClause(union, 6, plan) };
}

function ruleCount(rules: readonly CompiledRule[]): number {
  let count = 0;
  for (const { ports } of rules) {
    if (ports.kind !== 'ranges') count++;
    else count += Math.ceil(slotCount(ports.ranges) / PORTS_PER_RULE);
  }
  return count;
}
