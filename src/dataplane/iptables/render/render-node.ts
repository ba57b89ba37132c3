/**
 * The door of this stage: NodeIntent -> Ruleset. The chain layout is drawn here.
 *
 *   mangle FORWARD                                              mangle INPUT likewise with PCL-INP (egress only)
 *     1 neither established nor related          jump PCL-FWD         the first packets of flows
 *     2 not of the current epoch            jump PCL-FWD-RECHECK live flows that these rules have not judged
 *                                                                     all other packets of live flows meet nothing else of ours
 *   PCL-FWD
 *     1 neighbour discovery (IPv6)               RETURN         S-58; what was routed is none
 *     2 jump PCL-NEW-S, -D (new-pods.ts)                         pods that are not programmed yet; only with --new-pods=closed
 *     3 jump PCL-PE, PCL-PI (guards.ts)                         by interface: what is at no listed address; where pods' are known
 *     4 jump PCL-EG                                             by source: egress of local pods
 *     5 jump PCL-IN                                             by destination: ingress to local pods (not in INPUT)
 *     6 stamp epoch, clear denied flag
 *   PCL-FWD-RECHECK
 *     1 ICMP error of a flow not denied          RETURN         S-07; a stale one must not be judged as a flow of its own
 *     2 ICMP error of a flow                     DROP
 *     3 reply                                    goto PCL-RPL   in INPUT: RETURN, the node reaches its own pods (S-60)
 *     4 goto PCL-FWD
 *   PCL-EG, PCL-IN -> a chain per bucket of addresses (dispatch.ts) -> a chain per policy group
 *   PCL-E-<hash>  INVALID DROP; one RETURN per clause; source = destination RETURN (hairpin, S-62); flag, log, DROP; legend
 *                 where policies are audited as well: ahead of the last DROP a DROP per clause of theirs, which counts what they would allow
 *                 where all are: what is no first packet RETURN; one RETURN per clause; hairpin RETURN; log, RETURN, which counts; legend
 *   PCL-Ea-<hash>  to h: where several are, each has a chain of its own, which is jumped to and gives no verdict: RETURN per clause; log, RETURN, which counts
 *   PCL-E-closed  DROP and nothing else, for pods whose own chain the kernel refused
 *
 *   With cluster-wide policies (tiered-chain.ts), whose rules are asked in order:
 *   PCL-E-<hash>  INVALID DROP if isolated; a rule per Admin rule: RETURN, goto PCL-EX, or goto PCL-EN for Pass; goto PCL-EN if any passes
 *   PCL-EN-<hash> what comes next: as above from the clauses on if isolated, else the Baseline rules; its end lets the packet go on
 *   PCL-EX-<hash> flag, log, DROP; legend         PCL-EW-<hash> in audit mode: log, RETURN         PCL-EA-<hash> counts for audited policies
 *
 *   PCL-RPL -> PCL-EGR -> buckets -> PCL-ER-<hash>              the same with source and destination exchanged, and PCL-INR...
 *
 * For a moment after a change a chain may begin with a goto to PCL-O-<hash>, which holds what the chain should (plan/add-only.ts).
 *
 * What every packet of a live flow meets is in the built-in chain itself: a chain of ours around it would cost it more than the
 * rules do (docs/performance.md). A packet that PCL-FWD has just stamped goes past rule 2.
 *
 * A reply is judged as a packet of the original direction would be, for where only one side talks none of these may come for hours: a
 * server that pushes datagrams, or one that repeats what was not acknowledged while the flow was denied.
 *
 * A RETURN inside an endpoint chain goes back to PCL-FWD behind the jump, because every hop below it is a goto: egress
 * allowed never skips ingress (S-06).
 */
import { FAMILIES, type Direction, type Family } from '../../../core/vocabulary.ts';
import type { LocalEndpoint, NodeIntent, Program } from '../../../compile/intent.ts';
import type { Sliced } from '../../../core/sliced.ts';
import type { IpSet, Match, Rule } from '../rules/rule.ts';
import type { EndpointChain, FamilyRules, Hook, Layout, PortGuard, Ruleset } from '../rules/ruleset.ts';
import type { PodInterfaces } from '../../../host/pod-interfaces.ts';

import { hasTiers } from '../../../compile/program.ts';
import { compareText, isSameList } from '../../../core/compare.ts';
import { versionedMap } from '../../../core/versioned-map.ts';
import { familyOf } from '../../../net/ip.ts';
import { runSync } from '../../../core/sliced.ts';
import { assembleChains } from './assemble.ts';
import { DispatchTrees } from './dispatch.ts';
import { renderPlainChain } from './endpoint-chain.ts';
import { renderTieredChain } from './tiered-chain.ts';
import { Chain, sameChain } from '../rules/chain.ts';
import { expressible, expressibleChains } from '../rules/features.ts';
import { guardsInUse } from './guards.ts';
import {
  ByJudging,
  changedJudgings,
  isJudgedBy,
  type Judging,
  JUDGING_ORDER,
  type JudgingOf,
  judgingIn,
} from '../../judgings.ts';
import { judgesReplies, sameLayout, stamps } from '../rules/layout.ts';
import { isClosed, newPodChains, programmedAddresses } from './new-pods.ts';
import { type RenderedSets, UsedSets, renderSets } from './rendered-sets.ts';
import { NO_INTERFACES } from '../../../host/pod-interfaces.ts';
import {
  FORWARD_RECHECK_CHAIN,
  FORWARD_CHAIN,
  INPUT_RECHECK_CHAIN,
  INPUT_CHAIN,
  NEW_POD_CHAINS,
  REPLY_CHAIN,
  dispatchChain,
  guardChain,
  programmedSet,
  replyDispatchChain,
  setName,
} from '../rules/names.ts';

/** Between two places to stop at. */
const PODS_PER_STEP = 100;

interface Rendered {
  readonly intent: NodeIntent;
  readonly layout: Layout;
  readonly interfaces: PodInterfaces;
  readonly ruleset: Ruleset;
  readonly chains: RenderedChains;
  readonly subjects: Subjects;
}

/** A pod that a family's rules are about, with its addresses of the family. */
interface Subject {
  readonly endpoint: LocalEndpoint;
  readonly addresses: readonly string[];
}

type Subjects = Readonly<Record<Family, readonly Subject[]>>;

/** Renders again and again; what the intent did not change is the same object as last time, and the planner skips it. */
export class NodeRenderer {
  #last: Rendered | undefined;
  #sets: RenderedSets = versionedMap();
  #used = new UsedSets();
  readonly #trees = new DispatchTrees();

  render(intent: NodeIntent, layout: Layout, interfaces: PodInterfaces = NO_INTERFACES): Ruleset {
    return runSync(this.renderInSteps(intent, layout, interfaces));
  }

  /** Begun, but not brought to its end, it leaves nothing behind. */
  *renderInSteps(intent: NodeIntent, layout: Layout, interfaces: PodInterfaces = NO_INTERFACES): Sliced<Ruleset> {
    const last = this.#last && sameLayout(this.#last.layout, layout) ? this.#last : undefined;
    const rendered = yield* renderSets(last?.intent, intent, this.#sets);
    const sameRules =
      last?.intent.endpoints === intent.endpoints &&
      last.intent.programs === intent.programs &&
      last.intent.audits === intent.audits &&
      last.interfaces === interfaces;
    const { families, chains, subjects } = sameRules
      ? { families: last.ruleset.families, chains: last.chains, subjects: last.subjects }
      : yield* renderFamilies(intent, layout, interfaces, rendered, last, this.#trees);
    if (!last) this.#used = new UsedSets();
    const sets = this.#used.update(rendered, families, gatesOf(intent, layout, interfaces, last));
    const { revision, directory } = intent;
    const ruleset = { families, sets, layout, revision, directory };
    this.#last = { intent, layout, interfaces, ruleset, chains, subjects };
    this.#sets = rendered;
    return ruleset;
  }
}

/** The addresses that may pass where nobody else may. */
function gatesOf(
  intent: NodeIntent,
  layout: Layout,
  interfaces: PodInterfaces,
  last: Rendered | undefined,
): readonly IpSet[] {
  if (!isClosed(layout)) return [];
  const isSame =
    last?.intent.localAddresses === intent.localAddresses && last.interfaces.broadcasts === interfaces.broadcasts;
  return FAMILIES.map((family) => {
    const known = isSame ? last.ruleset.sets.get(programmedSet(family)) : undefined;
    return known ?? programmedAddresses(family, intent.localAddresses, interfaces);
  });
}

type RenderedChains = Record<Family, ByJudging<EndpointChain>>;

function noChains(): RenderedChains {
  return { 4: new ByJudging(), 6: new ByJudging() };
}

function* renderFamilies(
  intent: NodeIntent,
  layout: Layout,
  interfaces: PodInterfaces,
  sets: RenderedSets,
  last: Rendered | undefined,
  trees: DispatchTrees,
): Sliced<{ families: Ruleset['families']; chains: RenderedChains; subjects: Subjects }> {
  const chains = noChains();
  const changed = last && last.interfaces === interfaces ? changedJudgings(last.intent, intent) : undefined;
  const chainOf: ChainOf = (judging, family) => {
    const { program, audit } = judging;
    const known = chains[family].of(program, audit) ?? last?.chains[family].of(program, audit);
    const found = known ?? render(judging, family);
    chains[family].set(judging, found);
    return found;
  };
  const nameOf = (family: Family) => (set: string) => sets.get(set)?.name ?? setName(family, set);
  const render = (judging: Judging, family: Family): EndpointChain => {
    const { program, audit } = judging;
    const plain = audit && program && chainOf({ program, audit: undefined }, family);
    const renderChain = program && hasTiers(program) ? renderTieredChain : renderPlainChain;
    return renderChain(judging, plain?.name, family, layout, nameOf(family));
  };
  const judgingOf = judgingIn(intent);
  const areSame = changed && last?.intent.endpoints === intent.endpoints;
  const subjects = areSame
    ? last.subjects
    : {
        4: yield* subjectsIn(intent, 4, interfaces, last?.subjects[4]),
        6: yield* subjectsIn(intent, 6, interfaces, last?.subjects[6]),
      };
  const inFamily = function* (family: Family): Sliced<FamilyRules> {
    const known = last?.ruleset.families[family];
    const isSame = changed && known && last.subjects[family] === subjects[family];
    if (!isSame || subjects[family].some(({ endpoint }) => isJudgedBy(endpoint, changed)))
      return yield* renderFamily(
        intent,
        subjects[family],
        family,
        layout,
        interfaces,
        judgingOf,
        chainOf,
        known,
        trees,
      );
    chains[family] = last.chains[family];
    return known;
  };
  return { families: { 4: yield* inFamily(4), 6: yield* inFamily(6) }, chains, subjects };
}

/** Pods with addresses of the family, or with interfaces. `last`: the same list where they are the same. */
function* subjectsIn(
  { endpoints }: NodeIntent,
  family: Family,
  { pods }: PodInterfaces,
  last: readonly Subject[] | undefined,
): Sliced<readonly Subject[]> {
  const attached = new Set(pods.map(({ pod }) => pod));
  const subjects: Subject[] = [];
  let isSame = true;
  let count = 0;
  for (const endpoint of endpoints) {
    if (++count % PODS_PER_STEP === 0) yield;
    if (!isOfFamily(endpoint, family) && !attached.has(endpoint.pod)) continue;
    const known = last?.[subjects.length];
    const subject = known?.endpoint === endpoint ? known : subjectOf(endpoint, family);
    if (subject !== known) isSame = false;
    subjects.push(subject);
  }
  return last && isSame && last.length === subjects.length ? last : subjects;
}

function isOfFamily({ addresses }: LocalEndpoint, family: Family): boolean {
  for (const address of addresses) if (familyOf(address) === family) return true;
  return false;
}

function subjectOf(endpoint: LocalEndpoint, family: Family): Subject {
  return { endpoint, addresses: endpoint.addresses.filter((address) => familyOf(address) === family) };
}

type ChainOf = (judging: Judging, family: Family) => EndpointChain;
type ChainNameOf = (endpoint: LocalEndpoint, direction: Direction) => string | undefined;

/** `last`: the rules of before, which stay the same object where nothing of them changed. */
function* renderFamily(
  intent: NodeIntent,
  subjects: readonly Subject[],
  family: Family,
  layout: Layout,
  interfaces: PodInterfaces,
  judgingOf: JudgingOf,
  chainFor: ChainOf,
  last: FamilyRules | undefined,
  trees: DispatchTrees,
): Sliced<FamilyRules> {
  const used = yield* judgingsInUse(subjects, judgingOf);
  const chainsOf = new Map<Judging, EndpointChain>();
  for (const judging of used) {
    chainsOf.set(judging, chainFor(judging, family));
    yield;
  }
  const nameOf: ChainNameOf = (endpoint, direction) => chainsOf.get(judgingOf(endpoint, direction)!)?.name;
  const dispatch = yield* dispatchOf(subjects, nameOf);
  const guards = yield* portGuards(intent, family, interfaces, nameOf);
  const guarded = guards.flatMap(({ targets }) => Object.values(targets));
  const targeted = new Set([...dispatch.egress.values(), ...dispatch.ingress.values(), ...guarded]);
  const judging = [...chainsOf].filter(([, { name }]) => targeted.has(name));
  const endpoints = judging.map(([, chain]) => chain);
  const spare = judging.flatMap(([{ program, audit }]) =>
    program && audit ? [chainFor({ program, audit: undefined }, family)] : [],
  );
  const targets = { dispatch, guards, offered: guards, endpoints };
  const rules = {
    family,
    ...waysIn(family, layout, interfaces, guards, last),
    dispatch,
    guards,
    endpointChains: new Map([...endpoints, ...spare].map((chain) => [chain.name, chain])),
    chains: assembleChains(family, layout, targets, last?.chains, trees),
  };
  return last && isSameFamily(last, rules) ? last : rules;
}

/** What judges the pods, sorted: nothing would ever refer to the chains of others. */
function* judgingsInUse(subjects: readonly Subject[], judgingOf: JudgingOf): Sliced<readonly Judging[]> {
  const used = new Set<Judging>();
  let count = 0;
  for (const { endpoint } of subjects) {
    if (++count % PODS_PER_STEP === 0) yield;
    for (const direction of JUDGING_ORDER) {
      const judging = judgingOf(endpoint, direction);
      if (judging) used.add(judging);
    }
  }
  const key = (one: Program | undefined): string => one?.key ?? '';
  const byKeys = (a: Judging, b: Judging): number =>
    compareText(key(a.program), key(b.program)) || compareText(key(a.audit), key(b.audit));
  return [...used].sort(byKeys);
}

function* dispatchOf(subjects: readonly Subject[], nameOf: ChainNameOf): Sliced<FamilyRules['dispatch']> {
  const dispatch = { egress: new Map<string, string>(), ingress: new Map<string, string>() };
  let count = 0;
  for (const { endpoint, addresses } of subjects) {
    if (++count % PODS_PER_STEP === 0) yield;
    for (const direction of JUDGING_ORDER) {
      const chain = nameOf(endpoint, direction);
      if (chain !== undefined) for (const address of addresses) dispatch[direction].set(address, chain);
    }
  }
  return dispatch;
}

/** Where packets come in. */
function waysIn(
  family: Family,
  layout: Layout,
  interfaces: PodInterfaces,
  guards: readonly PortGuard[],
  last: FamilyRules | undefined,
): Pick<FamilyRules, 'hooks' | 'entry'> {
  const known = new Map(last?.entry.map((chain) => [chain.name, chain]));
  const entry = [
    new Chain(FORWARD_CHAIN, ENTRY, expressible(entryRules(family, layout, 'FORWARD', guards), family, layout)),
    new Chain(INPUT_CHAIN, ENTRY, expressible(entryRules(family, layout, 'INPUT', guards), family, layout)),
    ...(judgesReplies(layout) ? recheckChains(guards) : []),
    ...expressibleChains(newPodChains(family, layout, interfaces), family, layout),
  ];
  return {
    hooks: last?.hooks ?? {
      FORWARD: new Chain('FORWARD', HOOK, hookRules(family, layout, FORWARD_CHAIN, FORWARD_RECHECK_CHAIN)),
      INPUT: new Chain('INPUT', HOOK, hookRules(family, layout, INPUT_CHAIN, INPUT_RECHECK_CHAIN)),
    },
    entry: entry.map((chain) => sameChain(known.get(chain.name), chain)),
  };
}

/** Dispatch and guards are told by the chains that are made of them. */
function isSameFamily(last: FamilyRules, rules: FamilyRules): boolean {
  if (last.hooks !== rules.hooks || !isSameList(last.entry, rules.entry)) return false;
  return isSameMap(last.chains, rules.chains) && isSameMap(last.endpointChains, rules.endpointChains);
}

/** By identity. */
function isSameMap<V>(a: ReadonlyMap<string, V>, b: ReadonlyMap<string, V>): boolean {
  if (a.size !== b.size) return false;
  for (const [key, value] of a) if (b.get(key) !== value) return false;
  return true;
}

/** Also where the pod has no address of the family: what it sends or gets in it has none that is listed. */
function* portGuards(
  { endpoints }: NodeIntent,
  family: Family,
  interfaces: PodInterfaces,
  chainOf: ChainNameOf,
): Sliced<readonly PortGuard[]> {
  if (interfaces.pods.length === 0) return [];
  const endpointOf = new Map(endpoints.map((endpoint) => [endpoint.pod, endpoint]));
  const guards: PortGuard[] = [];
  for (const { name, via, pod } of interfaces.pods) {
    const endpoint = endpointOf.get(pod);
    if (!endpoint) continue;
    const targets: Partial<Record<Direction, string>> = {};
    for (const direction of JUDGING_ORDER) {
      const chain = chainOf(endpoint, direction);
      // What is routed to a pod is routed to an address that is the pod's.
      if (chain !== undefined && (direction === 'egress' || via !== 'route')) targets[direction] = chain;
    }
    if (Object.keys(targets).length === 0) continue;
    const addresses = endpoint.addresses.filter((address) => familyOf(address) === family);
    guards.push({ name, via, addresses, targets });
    yield;
  }
  return guards;
}

const HOOK = { kind: 'hook' } as const;
const ENTRY = { kind: 'entry' } as const;
const RETURN = { kind: 'return' } as const;
const DROP = { kind: 'drop' } as const;

function rule(matches: readonly Match[], target: Rule['target']): Rule {
  return { matches, target };
}

/** Which packets of the hook meet our chains. */
function hookRules(family: Family, layout: Layout, chain: string, againChain: string): readonly Rule[] {
  return expressible(hookRulesAtBest(layout, chain, againChain), family, layout);
}

function hookRulesAtBest(layout: Layout, chain: string, againChain: string): Rule[] {
  const enter: Rule['target'] = { kind: 'jump', chain };
  if (layout.mode === 'audit') return [rule([{ kind: 'conntrack', states: ['NEW'] }], enter)];
  const first = rule([{ kind: 'conntrack-not', states: LIVE }], enter);
  if (!stamps(layout)) return [first];
  return [first, rule([{ kind: 'stale-mark' }], { kind: 'jump', chain: againChain })];
}

const LIVE = ['RELATED', 'ESTABLISHED'] as const;

function entryRules(family: Family, layout: Layout, hook: Hook, guards: readonly PortGuard[]): Rule[] {
  const directions = hook === 'FORWARD' ? JUDGING_ORDER : (['egress'] as const);
  const guarded = guardsInUse(guards).filter((direction) => (directions as readonly Direction[]).includes(direction));
  return [
    // Once per connection: a datagram that nobody answers, or a repeated SYN, is NEW each time.
    ...(layout.mode === 'audit' ? [rule([{ kind: 'conntrack-confirmed' }], RETURN)] : []),
    ...(family === 6 ? [rule([{ kind: 'neighbour-discovery' }], RETURN)] : []),
    ...(isClosed(layout) ? gateJumps(hook) : []),
    ...guarded.map((direction) => rule([], { kind: 'jump', chain: guardChain(direction) })),
    ...directions.map((direction) => rule([], { kind: 'jump', chain: dispatchChain(direction) })),
    ...(stamps(layout) ? [rule([], { kind: 'stamp-epoch' })] : []),
  ];
}

function gateJumps(hook: Hook): Rule[] {
  const { source, destination } = NEW_POD_CHAINS;
  const chains = hook === 'FORWARD' ? [source, destination] : [source];
  return chains.map((chain) => rule([], { kind: 'jump', chain }));
}

function recheckChains(guards: readonly PortGuard[]): Chain[] {
  return [
    new Chain(FORWARD_RECHECK_CHAIN, { kind: 'recheck' }, recheckRules('FORWARD', FORWARD_CHAIN)),
    new Chain(INPUT_RECHECK_CHAIN, { kind: 'recheck' }, recheckRules('INPUT', INPUT_CHAIN)),
    new Chain(REPLY_CHAIN, { kind: 'reply-entry' }, replyRules(guards)),
  ];
}

/** For packets of live flows, which have a connection. */
function recheckRules(hook: Hook, entryChain: string): Rule[] {
  const icmpError: readonly Match[] = [{ kind: 'icmp' }, { kind: 'conntrack', states: ['RELATED'] }];
  const isReply: Match = { kind: 'conntrack', states: LIVE, direction: 'REPLY' };
  return [
    rule([...icmpError, { kind: 'denied-flag', set: false }], RETURN),
    rule(icmpError, DROP),
    rule([isReply], hook === 'FORWARD' ? { kind: 'goto', chain: REPLY_CHAIN } : RETURN),
    rule([], { kind: 'goto', chain: entryChain }),
  ];
}

function replyRules(guards: readonly PortGuard[]): Rule[] {
  return [
    ...guardsInUse(guards).map((direction) => rule([], { kind: 'jump', chain: guardChain(direction, true) })),
    ...JUDGING_ORDER.map((direction) => rule([], { kind: 'jump', chain: replyDispatchChain(direction) })),
    rule([], { kind: 'stamp-epoch' }),
  ];
}
