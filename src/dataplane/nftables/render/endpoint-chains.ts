/** The chains that judge pods: those of each policy group, direction and family, and those of the replies of its live flows. */
import type { CompiledRule, Program } from '../../../compile/intent.ts';
import type { Direction, Family } from '../../../core/vocabulary.ts';
import type { PolicyRef, RuleRef } from '../../../policy/model.ts';
import type { CountedAction, CountedFlow, CountedFor } from '../../dataplane.ts';
import type { Judging } from '../../judgings.ts';
import type { LogStage } from '../../log-prefix.ts';
import type { Counted } from '../table/counted.ts';
import type { End, Match, Rule, Target } from '../table/rule.ts';
import type { PortRange } from '../../../net/port-range.ts';

import { acceptRules } from '../../../compile/program.ts';
import { objectKey } from '../../../policy/model.ts';
import { alonePart, closedChain, endpointChain, partChain, replyChain, UNNAMED_CHAIN } from '../../chain-names.ts';
import { writePrefix } from '../../log-prefix.ts';
import { deniedBit } from '../../mark-bits.ts';
import { itselfSet } from '../table/names.ts';
import { type Chain, type Layout, chainOf, stamps } from '../table/table.ts';
import { reverse } from './reverse.ts';

export const RETURN = { kind: 'return' } as const;
export const DROP = { kind: 'drop' } as const;
export const LIVE: Match = { kind: 'state', states: ['established', 'related'] };
const WHOLE_PROTOCOL: PortRange = { first: 0, last: 65535 };

export interface EndpointChain {
  readonly chain: Chain;
  /** Absent where replies are not judged. */
  readonly reply?: Chain;
  /** Chains that packets reach from these two. */
  readonly parts?: readonly Chain[];
}

export function chainsOf({ chain, reply, parts = [] }: EndpointChain): readonly Chain[] {
  return reply ? [chain, reply, ...parts] : [chain, ...parts];
}

/** The sets that hold what a set of NodeIntent means, by its key: an address is in one of them. */
export type SetNames = (key: string) => readonly string[];

/** Of a program without tiers. */
export function plainChains(judging: Judging, family: Family, layout: Layout, names: SetNames): EndpointChain {
  const { program, audit } = judging;
  const { direction, policies } = (program ?? audit)!;
  const of: Judged = { family, direction, layout, policies, isolates: program !== undefined };
  const allows = acceptingRules(program ?? audit, family, names).map((rule) => counting(rule, 'allow', of));
  const rulesIn = (name: string): readonly Rule[] =>
    of.isolates
      ? [...headRules(of), ...allows, ...tailRules(of, name), ...auditing(audit, of, name, names), verdict(of)]
      : auditedRules(audit!, of, name, allows);
  const alone = (name: string): readonly Chain[] => aloneChains(audit, of, name, names);
  const keys = [program?.key ?? null, audit?.key ?? null, family];
  const meaning = [chainOf('', rulesIn(UNNAMED_CHAIN)), ...alone(UNNAMED_CHAIN)].map(({ lines }) => lines);
  const name = endpointChain(direction, JSON.stringify([keys, ...meaning]));
  const parts = alone(name);
  const chain = chainOf(name, rulesIn(name), { policies, denies: of.isolates && layout.mode === 'enforce' });
  const found = { chain, ...(parts.length > 0 ? { parts } : {}) };
  if (!stamps(layout)) return found;
  const replies = of.isolates ? [...allows.map(reverse).map(uncounted), ...replyTail(of, name)] : [rule([], RETURN)];
  return { ...found, reply: chainOf(replyChain(name), replies, { policies, denies: of.isolates }) };
}

/**
 * All that counts for audited policies alone. Each of several is asked ahead of all together: what those allow goes no further. They log
 * it each, so together they do not.
 */
export function auditedRules(audit: Program, of: Judged, chain: string, allows: readonly Rule[]): readonly Rule[] {
  const [hairpin, ...log] = tailRules(of, chain);
  const last = verdict(of);
  if (audit.alone) return [...headRules(of), hairpin!, ...aloneJumps(audit, chain), ...allows, last];
  return [...headRules(of), ...allows, hairpin!, ...log, audit.policies.length === 1 ? countedAlone(last) : last];
}

/** What all audited policies would deny is what the only one would. */
function countedAlone(last: Rule): Rule {
  const counts = last.counts!;
  return { ...last, counts: { ...counts, also: { action: 'would-deny-alone', of: counts.of } } };
}

/** Ahead of the verdict on what policies in force deny: what of it audited ones would let through. */
export function auditing(audit: Program | undefined, of: Judged, chain: string, names: SetNames): readonly Rule[] {
  if (audit?.alone) return aloneJumps(audit, chain);
  return acceptingRules(audit, of.family, names).map((each) => wouldAllow(each, of));
}

function aloneJumps({ alone = [] }: Program, chain: string): readonly Rule[] {
  return alone.map((_, place) => rule([], { kind: 'jump', chain: partChain(chain, alonePart(place)) }));
}

/** The chains that count for each of several audited policies, whatever the others say. None of them gives a verdict. */
export function aloneChains(audit: Program | undefined, of: Judged, chain: string, names: SetNames): readonly Chain[] {
  return (audit?.alone ?? []).map((program, place) => {
    const { policies } = program;
    const name = partChain(chain, alonePart(place));
    const own: Judged = { ...of, policies, isolates: false };
    const allows = acceptingRules(program, of.family, names);
    const rules = of.isolates
      ? allows.map((each) => counting(each, 'would-allow', own))
      : [...allows, ...logRules(own, 'would-deny', name), verdict(own, 'would-deny-alone')];
    return chainOf(name, rules, { policies, denies: false });
  });
}

/** Judges pods whose own chain could not be built. It must go in whatever the kernel refuses, so it asks nothing. */
export function closedEndpoint(direction: Direction, layout: Layout): EndpointChain {
  const name = closedChain(direction);
  const denies = layout.mode === 'enforce';
  const rules = (flow: CountedFlow): readonly Rule[] => {
    const counts = { action: denies ? 'deny' : 'would-deny', direction, flow, of: { kind: 'closed' } } as const;
    return [{ matches: [], target: denies ? DROP : RETURN, counts }];
  };
  const chain = chainOf(name, rules('new'), { denies });
  return stamps(layout) ? { chain, reply: chainOf(replyChain(name), rules('live'), { denies }) } : { chain };
}

export interface Judged {
  readonly family: Family;
  readonly direction: Direction;
  readonly layout: Layout;
  readonly policies: readonly PolicyRef[];
  /** Else it only counts for audited policies. */
  readonly isolates: boolean;
}

export function rule(matches: readonly Match[], target: Target): Rule {
  return { matches, target };
}

/** In audit mode no other packets come here than the first of connections. */
export function headRules(of: Judged): Rule[] {
  if (of.layout.mode === 'audit') return [];
  if (of.isolates)
    return [{ ...rule([{ kind: 'state', states: ['invalid'] }], DROP), counts: countedFor(of, 'deny', 'invalid') }];
  return [rule([{ kind: 'confirmed' }], RETURN), rule([{ kind: 'state', states: ['new'], not: true }], RETURN)];
}

/** What happens to a packet that no rule allows, ahead of the verdict. */
export function tailRules(of: Judged, chain: string): Rule[] {
  const { layout, isolates, family } = of;
  const hairpin = rule([{ kind: 'pair-in-set', family, set: itselfSet(family) }], RETURN);
  if (layout.mode === 'audit' || !isolates) return [hairpin, ...logRules(of, 'would-deny', chain)];
  return [
    hairpin,
    ...flagRules(layout),
    ...logRules(of, 'cut', chain, [LIVE]),
    { ...rule([LIVE], DROP), counts: countedFor(of, 'deny', 'live') },
    ...logRules(of, 'denied', chain),
  ];
}

export function replyTail(of: Judged, chain: string): Rule[] {
  const { layout, family } = of;
  return [
    rule([{ kind: 'pair-in-set', family, set: itselfSet(family) }], RETURN),
    ...flagRules(layout),
    ...logRules(of, 'cut-reply', chain),
    { ...rule([], DROP), counts: countedFor(of, 'deny', 'live') },
  ];
}

/** The last rule of a chain: what comes to it is allowed by nobody. In audit its counter is one per connection that would be denied. */
export function verdict(of: Judged, audited: CountedAction = 'would-deny'): Rule {
  const isDenied = of.layout.mode === 'enforce' && of.isolates;
  const comment = `${of.isolates ? 'isolated' : 'audited'} by ${of.policies.map(nameOf).join(', ')}`;
  return {
    ...rule([], isDenied ? DROP : RETURN),
    counts: countedFor(of, isDenied ? 'deny' : audited, 'new'),
    comment,
  };
}

export function flagRules(layout: Layout): Rule[] {
  if (!stamps(layout)) return [];
  const bit = deniedBit(layout.marks);
  return [rule([LIVE], { kind: 'set-mark', mask: bit, bits: bit })];
}

export function logRules(
  { layout, direction }: Judged,
  stage: LogStage,
  chain: string,
  which: readonly Match[] = [],
): Rule[] {
  if (!layout.log) return [];
  const { group, perSecond, burst } = layout.log;
  const prefix = writePrefix(stage, direction, chain);
  return [rule([...which, { kind: 'limit', perSecond, burst }], { kind: 'log', group, prefix })];
}

export function countedFor({ direction, policies }: Judged, action: CountedAction, flow: CountedFlow): Counted {
  return { action, direction, flow, of: { kind: 'policies', policies } };
}

export function counting(each: Rule, action: CountedAction, of: Judged, flow: CountedFlow = 'new'): Rule {
  return { ...each, counts: { ...countedFor(of, action, flow), of: askedBy(each) } };
}

/** Meets what no policy in force allows, ahead of the verdict on that, and gives it the same. */
function wouldAllow(each: Rule, of: Judged): Rule {
  const isDenied = of.layout.mode === 'enforce';
  const also = { action: 'would-allow', of: askedBy(each) } as const;
  const counts = { ...countedFor(of, isDenied ? 'deny' : 'would-deny', 'new'), also };
  return { ...each, target: isDenied ? DROP : RETURN, counts };
}

export function uncounted({ counts: _counts, ...each }: Rule): Rule {
  return each;
}

function askedBy({ by = [] }: Rule): CountedFor {
  return { kind: 'policies', policies: [...new Map(by.map(({ policy }) => [objectKey(policy), policy])).values()] };
}

// ------------------------------------------------------------------------------------------------------ rules of policies

/** What NetworkPolicies of the program accept. */
export function acceptingRules(program: Program | undefined, family: Family, names: SetNames): Rule[] {
  if (!program) return [];
  const { direction } = program;
  return distinct(acceptRules(program).flatMap((each) => matchingRules(each, direction, family, names, RETURN)));
}

/** One for each way to match it. */
export function matchingRules(
  each: CompiledRule,
  direction: Direction,
  family: Family,
  names: SetNames,
  target: Target,
): Rule[] {
  const peers = peerMatches(each, direction === 'egress' ? 'destination' : 'source', family, names);
  return portMatches(each, family, names).flatMap((ports) =>
    peers.map((peer): Rule => ({ matches: [...ports, ...peer], target, by: each.by, comment: comment(each.by) })),
  );
}

function comment(by: readonly RuleRef[]): string {
  return by.map(({ policy, index }) => `${nameOf(policy)} ${index}`).join(', ');
}

function nameOf(policy: PolicyRef): string {
  return policy.namespace === '' ? `cluster-wide ${policy.name}` : objectKey(policy);
}

/** Alternatives, each a list of matches that must all hold. */
function peerMatches({ peers }: CompiledRule, end: End, family: Family, names: SetNames): Match[][] {
  const peer = peers[family];
  switch (peer.kind) {
    case 'none':
      return [];
    case 'any':
      return [[]];
    case 'block':
      return [[{ kind: 'block', family, end, cidr: peer.cidr }]];
    case 'set':
      return names(peer.key).map((set) => [{ kind: 'in-set', family, end, set }]);
  }
}

/** The same of ports. They come first: a port is compared sooner than a set is asked. */
function portMatches({ ports }: CompiledRule, family: Family, names: SetNames): Match[][] {
  switch (ports.kind) {
    case 'any':
      return [[]];
    case 'address-port':
      return names(ports.set[family]).map((set) => [
        { kind: 'in-port-set', family, address: ports.address, port: 'destination', set },
      ]);
    case 'ranges': {
      const isWhole = ports.ranges.some(
        ({ first, last }) => first <= WHOLE_PROTOCOL.first && last >= WHOLE_PROTOCOL.last,
      );
      return [[{ kind: 'ports', protocol: ports.protocol, end: 'destination', ranges: isWhole ? [] : ports.ranges }]];
    }
  }
}

/** Two policies may allow the same thing; one rule is enough, and knows both. */
function distinct(rules: readonly Rule[]): Rule[] {
  const seen = new Map<string, Rule>();
  for (const each of rules) {
    const key = JSON.stringify(each.matches);
    const by = distinctRefs([...(seen.get(key)?.by ?? []), ...each.by!]);
    seen.set(key, { ...each, by, comment: comment(by) });
  }
  return [...seen.values()];
}

function distinctRefs(refs: readonly RuleRef[]): readonly RuleRef[] {
  return [...new Map(refs.map((ref) => [`${objectKey(ref.policy)} ${ref.index}`, ref])).values()];
}
