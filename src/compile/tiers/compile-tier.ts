/**
 * The rules of one tier for pods that are subjects of the same policies -> ordered rules, and a plan of the sets they speak of.
 *
 * Rules next to each other with the same action may be asked in any order, so they are merged as those of NetworkPolicies are; no others.
 *
 *   Accept a, Accept b | Deny c | Pass d, Pass e | Accept f          four runs
 *
 * Where it is not known whether a rule matches (N-90, N-93), an Accept does not, and a Deny or Pass denies: behind its own rule there is
 * one that denies what is in doubt. Sets of what is in doubt are made only while anything is.
 */
import type { Direction } from '../../core/vocabulary.ts';
import type { Action, ClusterPeer, ClusterRule, Policy, RuleRef, Selector } from '../../policy/model.ts';
import type { Sliced } from '../../core/sliced.ts';
import type { CompiledRule } from '../intent.ts';
import type { FamilyPeers, LetsThrough } from '../rule-list.ts';
import type { NumericPorts, Peers } from '../rule-texts.ts';
import type { SharingLimits } from '../shared-peers.ts';
import type { Applied } from './tier-order.ts';

import { EVERYTHING } from '../../policy/model.ts';
import { splitPorts } from '../ports.ts';
import {
  inDoubt,
  localEndpoints,
  doubtfulPeerEndpoints,
  peerEndpoints,
  selectPeers,
  type SetPlan,
} from '../peer-sets.ts';
import { ANY_PEER, letsThroughByPort, peerClausesOf, portClause } from '../program-compiler.ts';
import { RuleList } from '../rule-list.ts';
import { type Allowed, mergeRules } from '../shared-peers.ts';
import { nodeSetKeys } from './node-sets.ts';

export interface TierContext {
  readonly nodeName: string;
  readonly direction: Direction;
  readonly limits: SharingLimits | undefined;
  /** Of some pod it is not known which rules match it. */
  readonly hasDoubts: boolean;
}

export interface CompiledTier {
  readonly rules: readonly CompiledRule[];
  /** How to make the sets of pods and blocks that they speak of. */
  readonly plan: SetPlan;
  /** By key of their set: which nodes. */
  readonly nodes: ReadonlyMap<string, readonly Selector[]>;
}

interface TierRule {
  readonly ref: RuleRef;
  readonly rule: ClusterRule;
}

interface Collected {
  readonly context: TierContext;
  readonly plan: SetPlan;
  readonly nodes: Map<string, readonly Selector[]>;
}

export function* compileTier(applied: readonly Applied[], context: TierContext): Sliced<CompiledTier> {
  const collected: Collected = { context, plan: new Map(), nodes: new Map() };
  const rules: CompiledRule[] = [];
  for (const run of runsOf(tierRules(applied, context.direction), context.hasDoubts)) {
    const { action } = run[0]!.rule;
    rules.push(...(yield* mergedRules(run, action, collected)));
    if (context.hasDoubts && action !== 'Accept') rules.push(...doubtfulRules(run, collected));
    yield;
  }
  return { rules, plan: collected.plan, nodes: collected.nodes };
}

/** Of a policy whose subject the pod only may be, rules are in doubt as a whole. */
function tierRules(applied: readonly Applied[], direction: Direction): readonly TierRule[] {
  return applied.flatMap(({ policy, inDoubt: mayApply }) => {
    const ref = { namespace: '', name: policy.name, tier: policy.tier };
    return policy[direction].flatMap((rule, index): TierRule[] => {
      if (mayApply && rule.action === 'Accept') return [];
      const named = rule.name === undefined ? {} : { name: rule.name };
      const action: Action = mayApply ? 'Deny' : rule.action;
      return [{ ref: { policy: ref, direction, index, ...named }, rule: { ...rule, action } }];
    });
  });
}

/** Adjacent rules with the same action. Where something is in doubt a Pass stands alone: what denies in doubt belongs right behind it. */
function runsOf(rules: readonly TierRule[], hasDoubts: boolean): readonly (readonly TierRule[])[] {
  const runs: TierRule[][] = [];
  for (const each of rules) {
    const last = runs.at(-1);
    const { action } = each.rule;
    if (last && last[0]!.rule.action === action && !(hasDoubts && action === 'Pass')) last.push(each);
    else runs.push([each]);
  }
  return runs;
}

/** What a rule says of peers other than nodes, as rules of a NetworkPolicy would; by name only of pods (N-33, N-55). */
function* plainRules(
  rules: readonly TierRule[],
): Iterable<TierRule & { readonly ports: ClusterRule['ports']; readonly peers: Peers }> {
  for (const each of rules) {
    const { ports, peers } = each.rule;
    const known = peers === 'any' ? peers : peers.filter((peer) => peer.kind !== 'nodes');
    if (known !== 'any' && known.length === 0) continue;
    const numeric = ports === 'any' ? ports : ports.filter(({ kind }) => kind === 'range');
    if (numeric === 'any' || numeric.length > 0) yield { ...each, ports: numeric, peers: known };
    const named = ports === 'any' ? [] : ports.filter(({ kind }) => kind === 'named');
    const pods = known === 'any' ? known : known.filter(({ kind }) => kind === 'pods');
    if (named.length > 0 && pods.length > 0) yield { ...each, ports: named, peers: pods };
  }
}

function* mergedRules(run: readonly TierRule[], action: Action, collected: Collected): Sliced<readonly CompiledRule[]> {
  const { direction, limits } = collected.context;
  const plain = [...plainRules(run)];
  const policy: Pick<Policy, 'podSelector' | Direction> = { podSelector: EVERYTHING, ingress: plain, egress: plain };
  const list = new RuleList();
  for (const { allowed, by } of yield* mergeRules([policy], direction, [0], limits)) {
    list.add(yield* letsThrough(allowed, collected), by);
    yield;
  }
  // Behind the others: the places of rules of nodes go on from theirs.
  const refs = [...plain, ...run].map(({ ref }) => ref);
  for (const [at, { rule }] of run.entries())
    for (const what of nodeRules(rule, collected)) list.add(what, [{ place: 0, index: plain.length + at }]);
  return list.list(({ index }) => refs[index]!, action);
}

function* letsThrough(allowed: Allowed, { context, plan }: Collected): Sliced<LetsThrough> {
  const { direction, nodeName } = context;
  if (allowed.kind === 'by-port') return yield* letsThroughByPort('', direction, allowed, plan);
  const union = selectPeers('', allowed.peers);
  if (allowed.kind === 'numeric') return { ports: portClause(allowed.ports, plan), peers: peerClausesOf(union, plan) };
  // N-53: egress asks each peer for its ports, ingress the pods of this node.
  if (direction === 'egress') {
    const set = peerEndpoints(union, allowed.names, plan);
    return { ports: { kind: 'address-port', set, address: 'destination' }, peers: ANY_PEER };
  }
  const set = localEndpoints(nodeName, allowed.names, false, plan);
  return { ports: { kind: 'address-port', set, address: 'destination' }, peers: peerClausesOf(union, plan) };
}

/** N-44: which have no ports by name. */
function nodeRules({ ports, peers }: ClusterRule, { plan, nodes }: Collected): readonly LetsThrough[] {
  const selectors = peers === 'any' ? [] : peers.flatMap((peer) => (peer.kind === 'nodes' ? [peer.nodes] : []));
  if (selectors.length === 0) return [];
  const keys = nodeSetKeys(selectors);
  nodes.set(keys[4], selectors).set(keys[6], selectors);
  const clause: FamilyPeers = { 4: { kind: 'set', key: keys[4] }, 6: { kind: 'set', key: keys[6] } };
  return numericOf(ports).map((each) => ({ ports: portClause(each, plan), peers: clause }));
}

function numericOf(ports: ClusterRule['ports']): readonly NumericPorts[] {
  const split = splitPorts(ports);
  return split === 'any' ? [split] : split.numeric;
}

/** What of these rules denies, as it is not known whether they match. */
function doubtfulRules(run: readonly TierRule[], collected: Collected): readonly CompiledRule[] {
  return run.flatMap(({ ref, rule }) => {
    return inDoubtOf(rule, collected).map((what): CompiledRule => ({ action: 'Deny', by: [ref], ...what }));
  });
}

function inDoubtOf({ ports, peers }: ClusterRule, { context, plan }: Collected): readonly LetsThrough[] {
  const pods = peers === 'any' ? peers : peers.filter(isPods);
  if (pods.length === 0) return [];
  const union = selectPeers('', pods);
  const doubtful = peerClausesOf(inDoubt(union), plan);
  const byNumber = numericOf(ports).map((each) => ({ ports: portClause(each, plan), peers: doubtful }));
  const split = splitPorts(ports);
  if (split === 'any' || split.named.length === 0) return byNumber;
  if (context.direction === 'egress') {
    const set = doubtfulPeerEndpoints(union, split.named, plan);
    return [...byNumber, { ports: { kind: 'address-port', set, address: 'destination' }, peers: ANY_PEER }];
  }
  const own = (isDoubtful: boolean) => localEndpoints(context.nodeName, split.named, isDoubtful, plan);
  const sure = peerClausesOf(union, plan);
  const byName = [
    [false, doubtful],
    [true, doubtful],
    [true, sure],
  ] as const;
  return [
    ...byNumber,
    ...byName.map(([isDoubtful, who]): LetsThrough => {
      return { ports: { kind: 'address-port', set: own(isDoubtful), address: 'destination' }, peers: who };
    }),
  ];
}

function isPods(peer: ClusterPeer): peer is Extract<ClusterPeer, { kind: 'pods' }> {
  return peer.kind === 'pods';
}
