/** What judges the pods of one policy group: a program, and what is audited besides, -> an endpoint chain. Drawn at the head of render-node.ts. */
import type { Direction, Family } from '../../../core/vocabulary.ts';
import type { PortRange } from '../../../net/port-range.ts';
import type { CompiledRule, Program } from '../../../compile/intent.ts';
import type { RuleRef } from '../../../policy/model.ts';
import type { Match, Rule } from '../rules/rule.ts';
import type { EndpointChain, Layout } from '../rules/ruleset.ts';

import { Groups } from '../../../core/groups.ts';
import { acceptRules, rulesOf } from '../../../compile/program.ts';
import { objectKey } from '../../../policy/model.ts';
import { Chain } from '../rules/chain.ts';
import { expressible } from '../rules/features.ts';
import { judgesReplies, stamps } from '../rules/layout.ts';
import type { Judging } from '../../judgings.ts';
import { alonePart, endpointChain, partChain, replyChain, UNNAMED_CHAIN } from '../../chain-names.ts';
import { type LogStage, writePrefix } from '../../log-prefix.ts';
import { reverse } from '../rules/reverse.ts';

/** xt_multiport XT_MULTI_PORTS. */
const MAX_MULTIPORT_SLOTS = 15;
/** Policies that a chain's legend names, a rule each: what is only read by people must not make up most of a table. */
const MAX_LEGEND = 50;
const WHOLE_PROTOCOL: PortRange = { first: 0, last: 65535 };
const RETURN = { kind: 'return' } as const;
const DROP = { kind: 'drop' } as const;
const LIVE = ['RELATED', 'ESTABLISHED'] as const;

/** Key of an address or endpoint set -> its name. */
export type SetNames = (key: string) => string;

export function rule(matches: readonly Match[], target: Rule['target']): Rule {
  return { matches, target };
}

/** Rules of a program in no tier's order: those that NetworkPolicies allow. */
export function allowRules(from: Program | undefined, family: Family, setNames: SetNames): readonly Rule[] {
  if (!from) return [];
  return distinct(acceptRules(from).flatMap((clause) => clauseRules(clause, from.direction, family, setNames, RETURN)));
}

/** Of a program without tiers. `without`: the name of the chain that judges the same pods without what is audited, where they are isolated. */
export function renderPlainChain(
  { program, audit }: Judging,
  without: string | undefined,
  family: Family,
  layout: Layout,
  setNames: SetNames,
): EndpointChain {
  const { direction, policies } = (program ?? audit)!;
  const allows = allowRules(program ?? audit, family, setNames);
  const legend = [...legendRules(program), ...legendRules(audit, true)];
  const isolates = program !== undefined;
  const tailOf = (chain: string, replies: boolean): readonly Rule[] =>
    tailRules({ chain, direction, replies, isolates }, layout);
  const alone = (chain: string): readonly (readonly Rule[])[] =>
    aloneRules(audit, chain, isolates, family, layout, setNames);
  const rulesOf = (chain: string): readonly Rule[] => {
    const tail = tailOf(chain, false);
    const counts = countingRules(audit, chain, family, layout, setNames);
    const all = isolates
      ? [...headRules(layout), ...allows, ...tail.slice(0, -1), ...counts, ...tail.slice(-1), ...legend]
      : [...auditHeadRules(layout), ...auditedRules(audit, chain, allows, tail), ...legend];
    return expressible(all, family, layout);
  };
  const told = [...rulesOf(UNNAMED_CHAIN), ...alone(UNNAMED_CHAIN).flat()];
  const meaning = told.map(({ matches, target }) => ({ matches, target }));
  const keys = audit ? [program?.key ?? null, audit.key] : [program!.key];
  const name = endpointChain(direction, JSON.stringify([...keys, family, layout, meaning]));
  const rules = rulesOf(name);
  const role = { kind: 'endpoint', endpoint: name, direction, replies: false } as const;
  const back = isolates ? [...allows, ...tailOf(name, true)] : [rule([], RETURN)];
  const replies = expressible(back, family, layout).map((each) => (each.by ? reverse(each) : each));
  const parts = alone(name).map((each, place) => {
    const part = alonePart(place);
    return new Chain(partChain(name, part), { ...role, part }, each);
  });
  return {
    name,
    direction,
    policies,
    ...(audit ? { audit: { policies: audit.policies, ...(without === undefined ? {} : { without }) } } : {}),
    sets: setsOf([...rules, ...parts.flatMap((part) => part.rules)]),
    chain: new Chain(name, role, rules),
    ...(judgesReplies(layout) ? { reply: new Chain(replyChain(name), { ...role, replies: true }, replies) } : {}),
    ...(parts.length > 0 ? { parts } : {}),
  };
}

/**
 * Behind the head of what counts for audited policies alone. Each of several is asked ahead of all together: what those allow goes no
 * further. They log it each, so together they do not. `tail`: hairpin, log, verdict.
 */
export function auditedRules(
  audit: Program | undefined,
  chain: string,
  allows: readonly Rule[],
  tail: readonly Rule[],
): readonly Rule[] {
  if (!audit?.alone) return [...allows, ...tail];
  return [...tail.slice(0, 1), ...aloneJumps(audit, chain), ...allows, ...tail.slice(-1)];
}

/** Ahead of the verdict on what policies in force deny: what of it audited ones would let through. */
export function countingRules(
  audit: Program | undefined,
  chain: string,
  family: Family,
  layout: Layout,
  setNames: SetNames,
): readonly Rule[] {
  if (audit?.alone) return aloneJumps(audit, chain);
  return allowRules(audit, family, setNames).map((each) => countingRule(each, layout));
}

function aloneJumps({ alone = [] }: Program, chain: string): readonly Rule[] {
  return alone.map((_, place) => rule([], { kind: 'jump', chain: partChain(chain, alonePart(place)) }));
}

/** By place, the chains that count for each of several audited policies, whatever the others say. None of them gives a verdict. */
export function aloneRules(
  audit: Program | undefined,
  chain: string,
  isolates: boolean,
  family: Family,
  layout: Layout,
  setNames: SetNames,
): readonly (readonly Rule[])[] {
  return (audit?.alone ?? []).map((program, place) => {
    const allows = allowRules(program, family, setNames);
    const legend = legendRules(program, true);
    if (isolates)
      return expressible([...allows.map((each) => ({ ...each, isAudit: true as const })), ...legend], family, layout);
    const tail = { chain: partChain(chain, alonePart(place)), direction: program.direction, replies: false, isolates };
    const log = logRules('would-deny', tail, layout);
    return expressible([...allows, ...log, rule([], RETURN), ...legend], family, layout);
  });
}

/** By name, each once. */
export function setsOf(rules: readonly Rule[]): readonly string[] {
  const sets = rules.flatMap(({ matches }) => matches.flatMap((match) => (match.kind === 'set' ? [match.set] : [])));
  return [...new Set(sets)].sort();
}

/** Meets what no policy in force allows, ahead of the verdict on that. */
export function countingRule({ matches, by }: Rule, { mode }: Layout): Rule {
  return { matches, target: mode === 'audit' ? RETURN : DROP, ...(by ? { by } : {}), isAudit: true };
}

export function headRules(layout: Layout): Rule[] {
  return layout.mode === 'enforce' ? [rule([{ kind: 'conntrack', states: ['INVALID'] }], DROP)] : [];
}

/** Of a chain that only counts: each connection once. In audit mode no other packet comes here. */
export function auditHeadRules(layout: Layout): Rule[] {
  if (layout.mode === 'audit') return [];
  return [rule([{ kind: 'conntrack-confirmed' }], RETURN), rule([{ kind: 'conntrack-not', states: ['NEW'] }], RETURN)];
}

export interface Tail {
  /** The endpoint chain, also of its reply chain. */
  readonly chain: string;
  readonly direction: Direction;
  readonly replies: boolean;
  /** Else it only counts for audited policies. */
  readonly isolates: boolean;
}

/**
 * What happens to a packet no clause allows. In audit the last rule's counter is one per connection that would be denied.
 * A pod's way to itself is seldom taken and costs 100 ns to find, so what is allowed anyway does not meet it.
 */
export function tailRules(tail: Tail, layout: Layout): Rule[] {
  const hairpin = rule([{ kind: 'same-address' }], RETURN);
  if (layout.mode === 'audit' || !tail.isolates)
    return [hairpin, ...logRules('would-deny', tail, layout), rule([], RETURN)];
  if (!stamps(layout)) return [hairpin, ...logRules('denied', tail, layout), rule([], DROP)];
  const isLive: Match = { kind: 'conntrack', states: LIVE };
  const log = tail.replies
    ? logRules('cut-reply', tail, layout)
    : [
        ...logRules('cut', tail, layout, [isLive]),
        ...logRules('denied', tail, layout, [{ kind: 'conntrack-not', states: LIVE }]),
      ];
  return [hairpin, rule([isLive], { kind: 'set-denied-flag' }), ...log, rule([], DROP)];
}

function logRules(
  stage: LogStage,
  { direction, chain }: Tail,
  { log }: Layout,
  which: readonly Match[] = [],
): readonly Rule[] {
  if (!log) return [];
  const { group, perSecond, burst } = log;
  const prefix = writePrefix(stage, direction, chain);
  return [rule([...which, { kind: 'limit', perSecond, burst }], { kind: 'log', group, prefix })];
}

/** Never evaluated (they stand behind the last verdict): they name the policies for whoever lists the chain. */
export function legendRules(program: Program | undefined, isAudit = false): Rule[] {
  if (!program) return [];
  const { direction, policies, closed } = program;
  const indexes = new Map<string, Set<number>>(policies.map((policy) => [objectKey(policy), new Set()]));
  for (const { by } of rulesOf(program)) for (const { policy, index } of by) indexes.get(objectKey(policy))!.add(index);
  const named = [...indexes].slice(0, MAX_LEGEND);
  const texts = named.map(([name, found]) => {
    const allows = found.size === 0 ? 'no rule' : `rules ${[...found].sort((a, b) => a - b).join(',')}`;
    return `${name.startsWith('/') ? `cluster-wide ${name.slice(1)}` : name} ${direction} ${isAudit ? 'audit: ' : ''}${closed ? 'closed' : allows}`;
  });
  if (closed) texts.unshift('closed: these policies ask for more than one namespace gets; see the agent log');
  if (indexes.size > MAX_LEGEND) texts.push(`and ${indexes.size - MAX_LEGEND} more policies`);
  return texts.map((text) => rule([{ kind: 'comment', text }], { kind: 'none' }));
}

/** The same in a part that denies: whose rules lead there. */
export function denierRules(direction: Direction, by: readonly RuleRef[]): Rule[] {
  const indexes = new Groups<string, number>();
  for (const { policy, index } of by) indexes.add(policy.name, index);
  return [...indexes].slice(0, MAX_LEGEND).map(([name, found]) => {
    const rules = [...found].sort((a, b) => a - b).join(',');
    return rule([{ kind: 'comment', text: `denied by cluster-wide ${name} ${direction} rules ${rules}` }], {
      kind: 'none',
    });
  });
}

export function clauseRules(
  clause: CompiledRule,
  direction: Direction,
  family: Family,
  setNames: SetNames,
  target: Rule['target'],
): Rule[] {
  const made = (matches: readonly Match[]): Rule => ({ matches, target, by: clause.by });
  const peer = clause.peers[family];
  const ports = portMatches(clause, family, setNames);
  switch (peer.kind) {
    case 'none':
      return [];
    case 'any':
      return ports.map(made);
    case 'block': {
      // A prefix is told sooner than a port.
      const block: Match = { kind: direction === 'egress' ? 'destination-block' : 'source-block', cidr: peer.cidr };
      return ports.map((matches) => made([block, ...matches]));
    }
    case 'set': {
      const set: Match = { kind: 'set', set: setNames(peer.key), dimensions: direction === 'egress' ? 'dst' : 'src' };
      return ports.map((matches) => made([...matches, set]));
    }
  }
}

/** Alternatives, each a list of matches that must all hold. Ports come before peer sets: a port miss costs 20 ns, a set 120. */
function portMatches(clause: CompiledRule, family: Family, setNames: SetNames): Match[][] {
  const { ports } = clause;
  switch (ports.kind) {
    case 'any':
      return [[]];
    case 'address-port': {
      const dimensions = ports.address === 'source' ? 'src,dst' : 'dst,dst';
      return [[{ kind: 'set', set: setNames(ports.set[family]), dimensions }]];
    }
    case 'ranges':
      return portGroups(ports.ranges).map((ranges) => [{ kind: 'ports', protocol: ports.protocol, ranges }]);
  }
}

/** Splits ranges into groups that fit one multiport match; one group without ranges for the whole protocol. */
function portGroups(ranges: readonly PortRange[]): PortRange[][] {
  if (ranges.some((range) => range.first <= WHOLE_PROTOCOL.first && range.last >= WHOLE_PROTOCOL.last)) return [[]];
  const groups: PortRange[][] = [];
  let slots = MAX_MULTIPORT_SLOTS;
  for (const range of ranges) {
    const needed = range.first === range.last ? 1 : 2;
    if (slots + needed > MAX_MULTIPORT_SLOTS) {
      groups.push([]);
      slots = 0;
    }
    groups.at(-1)!.push(range);
    slots += needed;
  }
  return groups;
}

/** Two policies may allow the same thing; one rule is enough, and knows both. */
function distinct(rules: readonly Rule[]): Rule[] {
  const seen = new Map<string, Rule>();
  for (const candidate of rules) {
    const key = JSON.stringify(candidate.matches);
    const same = seen.get(key);
    seen.set(key, same ? { ...same, by: distinctRefs([...same.by!, ...candidate.by!]) } : candidate);
  }
  return [...seen.values()];
}

function distinctRefs(refs: readonly RuleRef[]): readonly RuleRef[] {
  return [...new Map(refs.map((ref) => [`${objectKey(ref.policy)} ${ref.index}`, ref])).values()];
}
