/**
 * A program with tiers of cluster-wide policies -> an endpoint chain and its parts (drawn at the head of render-node.ts). Rules are asked in
 * the order of the program; every hop between the parts is a goto, so that a RETURN in any of them leaves the direction's judgement as allowed.
 */
import type { Direction, Family } from '../../../core/vocabulary.ts';
import type { CompiledRule, Program, Stage } from '../../../compile/intent.ts';
import type { PolicyRef, RuleRef } from '../../../policy/model.ts';
import type { Match, Rule } from '../rules/rule.ts';
import type { EndpointChain, Layout } from '../rules/ruleset.ts';
import type { ChainPart } from '../../chain-names.ts';
import type { Judging } from '../../judgings.ts';
import type { SetNames } from './endpoint-chain.ts';

import { isolates } from '../../../compile/program.ts';
import { Chain } from '../rules/chain.ts';
import { expressible } from '../rules/features.ts';
import { judgesReplies } from '../rules/layout.ts';
import { alonePart, endpointChain, partChain, replyChain, UNNAMED_CHAIN } from '../../chain-names.ts';
import { type Denying, DenyingParts } from '../../denying-parts.ts';
import { reverse } from '../rules/reverse.ts';
import {
  allowRules,
  aloneRules,
  auditedRules,
  auditHeadRules,
  clauseRules,
  countingRules,
  denierRules,
  headRules,
  legendRules,
  rule,
  setsOf,
  tailRules,
} from './endpoint-chain.ts';

const RETURN = { kind: 'return' } as const;

interface Given extends Judging {
  readonly program: Program;
  readonly family: Family;
  readonly layout: Layout;
  readonly setNames: SetNames;
}

interface Part {
  readonly part: ChainPart;
  /** Of those that deny. */
  readonly number: number;
  readonly rules: readonly Rule[];
  readonly deniers?: readonly PolicyRef[];
}

/** The rules of one endpoint chain, part by part; `main` is where packets come in. */
interface Parts {
  readonly main: readonly Rule[];
  readonly others: readonly Part[];
}

/** `without`: the name of the chain that gives the same verdicts and counts nothing for what is audited. */
export function renderTieredChain(
  { program, audit }: Judging,
  without: string | undefined,
  family: Family,
  layout: Layout,
  setNames: SetNames,
): EndpointChain {
  const given: Given = { program: program!, audit, family, layout, setNames };
  const { key, direction, policies } = given.program;
  const keys = [key, ...(audit ? [audit.key] : [])];
  const unnamed = partsOf(given, UNNAMED_CHAIN, false);
  const meaning = [unnamed.main, ...unnamed.others.map(({ rules }) => rules)].map((rules) =>
    rules.map(({ matches, target }) => ({ matches, target })),
  );
  const name = endpointChain(direction, JSON.stringify([...keys, family, layout, meaning]));
  const { main, others } = partsOf(given, name, false);
  const replies = judgesReplies(layout) ? partsOf(given, name, true) : undefined;
  const role = { kind: 'endpoint', endpoint: name, direction, replies: false } as const;
  return {
    name,
    direction,
    policies,
    ...(audit ? { audit: { policies: audit.policies, ...(without === undefined ? {} : { without }) } } : {}),
    sets: setsOf([main, ...others.map(({ rules }) => rules)].flat()),
    chain: new Chain(name, role, main),
    ...(replies ? { reply: new Chain(replyChain(name), { ...role, replies: true }, replies.main) } : {}),
    parts: [
      ...partChains(name, direction, others, false),
      ...(replies ? partChains(name, direction, replies.others, true) : []),
    ],
  };
}

function partChains(
  endpoint: string,
  direction: Direction,
  parts: readonly Part[],
  replies: boolean,
): readonly Chain[] {
  return parts.map(({ part, number, rules, deniers }) => {
    const name = partChain(endpoint, part, number);
    const role = { kind: 'endpoint', endpoint, direction, replies, part, ...(deniers ? { deniers } : {}) } as const;
    return new Chain(replies ? replyChain(name) : name, role, rules);
  });
}

/** `name`: of the endpoint chain, which the parts are named after. */
function partsOf(given: Given, name: string, replies: boolean): Parts {
  const { program, audit, family, layout, setNames } = given;
  const to = (part: ChainPart, number = 0): Rule['target'] => {
    const chain = partChain(name, part, number);
    return { kind: 'goto', chain: replies ? replyChain(chain) : chain };
  };
  const denying = new DenyingParts();
  const end = layout.mode === 'audit' ? 'would-deny' : 'denied';
  const isIsolated = isolates(program);
  const [first, ...rest] = program.stages as [Stage, ...Stage[]];
  const isAudited = audit !== undefined && !isIsolated && !replies;
  const count = isAudited ? [rule([], { kind: 'jump', chain: partChain(name, 'counted') })] : [];
  const targets: Targets = { Accept: RETURN, Deny: (by) => to(end, denying.numberOf(by)), Pass: RETURN };
  const isPassed =
    first.tier === 'Admin' && (rest.length > 0 || isAudited) && first.rules.some(({ action }) => action === 'Pass');
  const ahead =
    first.tier === 'Admin'
      ? orderedRules(given, first.rules, isPassed ? { ...targets, Pass: to('next') } : targets)
      : [];
  const behind = (first.tier === 'Admin' ? rest : [first]).flatMap((stage) =>
    stage.order === 'union' ? isolatingRules(given, name, replies) : orderedRules(given, stage.rules, targets),
  );
  const next = [...count, ...directed(behind, replies)];
  const head = isIsolated && !replies ? expressible(headRules(layout), family, layout) : [];
  const legend = replies ? [] : expressible([...legendRules(program), ...legendRules(audit, true)], family, layout);
  // Where nothing follows the last rule of a chain a legend is asked, so it is in a part that ends.
  const denied = denying.all();
  const ends: readonly Denying[] = isIsolated || denied.length > 0 ? denied : [{ policies: [], by: [] }];
  const denials = ends.map(({ policies, by }, number): Part => {
    const names = replies ? [] : expressible(denierRules(program.direction, by), family, layout);
    const rules = [...deniedRules(given, name, replies), ...names, ...(isIsolated || number > 0 ? [] : legend)];
    return { part: end, number, rules, ...(policies.length > 0 ? { deniers: policies } : {}) };
  });
  const nextRules = [...next, ...(isIsolated ? legend : [])];
  return {
    main: [
      ...head,
      ...directed(ahead, replies),
      ...(isPassed ? [rule([], to('next'))] : next),
      ...(isIsolated && !isPassed ? legend : []),
    ],
    others: [
      ...(isPassed ? [{ part: 'next', number: 0, rules: nextRules } as const] : []),
      ...denials,
      ...(isAudited ? [{ part: 'counted', number: 0, rules: countedRules(given, name) } as const] : []),
      ...(replies ? [] : aloneParts(aloneRules(audit, name, isIsolated, family, layout, setNames))),
    ],
  };
}

function aloneParts(alone: readonly (readonly Rule[])[]): readonly Part[] {
  return alone.map((rules, place) => ({ part: alonePart(place), number: 0, rules }));
}

type Targets = Readonly<
  Record<'Accept' | 'Pass', Rule['target']> & { Deny: (by: readonly RuleRef[]) => Rule['target'] }
>;

/** Of replies the same is asked with source and destination exchanged; what a tail asks tells nothing of a direction. */
function directed(rules: readonly Rule[], replies: boolean): readonly Rule[] {
  return replies ? rules.map((each) => (each.by ? reverse(each) : each)) : rules;
}

/** N-61. A rule that asks the same as one ahead of it decides nothing. */
function orderedRules(
  { program, family, layout, setNames }: Given,
  rules: readonly CompiledRule[],
  targets: Targets,
): readonly Rule[] {
  const asked = new Map<string, Rule>();
  for (const each of rules) {
    const { action, by } = each;
    const target = action === 'Deny' ? RETURN : targets[action];
    const made = clauseRules(each, program.direction, family, setNames, target);
    const all =
      action === 'Accept'
        ? expressible(made, family, layout).map((one) => ({ one, denies: false }))
        : made.map((one) => deniedAtLeast(one, action === 'Deny', family, layout));
    for (const { one, denies } of all) {
      const key = JSON.stringify(one.matches);
      if (!asked.has(key)) asked.set(key, denies ? { ...one, target: targets.Deny(by) } : one);
    }
  }
  return [...asked.values()];
}

/** Where the kernel cannot ask all that a Deny or Pass rule asks, it denies whatever matches the rest (N-93). */
function deniedAtLeast(
  one: Rule,
  denies: boolean,
  family: Family,
  layout: Layout,
): { readonly one: Rule; readonly denies: boolean } {
  const [asked] = expressible([one], family, layout);
  if (asked) return { one: asked, denies };
  const canAsk = (match: Match): boolean => expressible([{ ...one, matches: [match] }], family, layout).length > 0;
  return { one: { ...one, matches: one.matches.filter(canAsk) }, denies: true };
}

/** The stage of NetworkPolicy, to its last verdict. */
function isolatingRules(
  { program, audit, family, layout, setNames }: Given,
  chain: string,
  replies: boolean,
): readonly Rule[] {
  const { direction } = program;
  const allows = expressible(allowRules(program, family, setNames), family, layout);
  const tail = expressible(tailRules({ chain, direction, replies, isolates: true }, layout), family, layout);
  const counts = replies ? [] : countingRules(audit, chain, family, layout, setNames);
  return [...allows, ...tail.slice(0, -1), ...expressible(counts, family, layout), ...tail.slice(-1)];
}

/** A pod's way to itself is judged as any other here (N-71). */
function deniedRules(
  { program: { direction }, family, layout }: Given,
  chain: string,
  replies: boolean,
): readonly Rule[] {
  const [, ...tail] = tailRules({ chain, direction, replies, isolates: true }, layout);
  return expressible(tail, family, layout);
}

/** What policies that are only audited would change, were they asked between the tiers. It gives no verdict. */
function countedRules(
  { audit, program: { direction }, family, layout, setNames }: Given,
  chain: string,
): readonly Rule[] {
  const tail = tailRules({ chain, direction, replies: false, isolates: false }, layout);
  const asked = auditedRules(audit, chain, allowRules(audit, family, setNames), tail);
  return expressible([...auditHeadRules(layout), ...asked], family, layout);
}
