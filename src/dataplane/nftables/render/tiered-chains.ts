/**
 * A program with tiers of cluster-wide policies -> an endpoint chain and its parts. Rules are asked in the order of the program.
 *
 *   PCL-E-<hash>    Admin: Accept return, Deny goto PCL-EX, Pass goto PCL-EN; then the stage behind it, here or in PCL-EN
 *   PCL-EN-<hash>   `next`: NetworkPolicy to its last verdict, or else Baseline
 *   PCL-EX-<hash>   `denied`: flag, log, drop; PCL-EW, `would-deny`, in audit mode: log, return
 *   PCL-EA-<hash>   `counted`: what audited policies would change, ahead of Baseline; it gives no verdict
 *
 * Every hop but to `counted` is a goto, so a return leaves the direction's judgement as allowed. So does the end of a chain.
 */
import type { CompiledRule, Program } from '../../../compile/intent.ts';
import type { PolicyRef, RuleRef } from '../../../policy/model.ts';
import type { CountedFlow } from '../../dataplane.ts';
import type { ChainPart } from '../../chain-names.ts';
import type { Judging } from '../../judgings.ts';
import type { Family } from '../../../core/vocabulary.ts';
import type { Chain, Layout } from '../table/table.ts';
import type { Rule, Target } from '../table/rule.ts';
import type { EndpointChain, Judged, SetNames } from './endpoint-chains.ts';

import { isolates } from '../../../compile/program.ts';
import { endpointChain, partChain, replyChain, UNNAMED_CHAIN } from '../../chain-names.ts';
import { chainOf, stamps } from '../table/table.ts';
import {
  acceptingRules,
  aloneChains,
  auditedRules,
  auditing,
  countedFor,
  counting,
  DROP,
  flagRules,
  headRules,
  LIVE,
  logRules,
  matchingRules,
  replyTail,
  RETURN,
  rule,
  tailRules,
  uncounted,
  verdict,
} from './endpoint-chains.ts';
import { DenyingParts } from '../../denying-parts.ts';
import { reverse } from './reverse.ts';

interface Given extends Judging {
  readonly program: Program;
  readonly family: Family;
  readonly layout: Layout;
  readonly names: SetNames;
}

interface Part {
  readonly part: ChainPart;
  /** Of those that deny. */
  readonly number: number;
  readonly rules: readonly Rule[];
}

/** `main` is where packets come in. */
interface Parts {
  readonly main: readonly Rule[];
  readonly others: readonly Part[];
}

export function tieredChains(given: Given): EndpointChain {
  const { program, audit, family, layout, names } = given;
  const { key, direction, policies } = program;
  const alone = (name: string): readonly Chain[] => aloneChains(audit, asAudited(given), name, names);
  const unnamed = partsOf(given, UNNAMED_CHAIN, false);
  const lines = [
    ...[{ part: 'main', number: 0, rules: unnamed.main }, ...unnamed.others].map(({ part, number, rules }) => [
      part,
      number,
      chainOf('', rules).lines,
    ]),
    ...alone(UNNAMED_CHAIN).map((each) => [each.name, each.lines]),
  ];
  const name = endpointChain(direction, JSON.stringify([key, audit?.key ?? null, family, lines]));
  const denies = layout.mode === 'enforce' && (isolates(program) || hasDenials(program));
  const made = (replies: boolean) => {
    const { main, others: parts } = partsOf(given, name, replies);
    const called = (chain: string): string => (replies ? replyChain(chain) : chain);
    const chain = chainOf(called(name), main, { policies, denies });
    const others = parts.map(({ part, number, rules }) =>
      chainOf(called(partChain(name, part, number)), rules, { policies, denies }),
    );
    return { chain, others };
  };
  const [forth, back] = [made(false), stamps(layout) ? made(true) : undefined];
  return {
    chain: forth.chain,
    ...(back ? { reply: back.chain } : {}),
    parts: [...forth.others, ...(back?.others ?? []), ...alone(name)],
  };
}

function partsOf(given: Given, name: string, replies: boolean): Parts {
  const { program, audit, layout } = given;
  const to = (part: ChainPart, number = 0): string => {
    const chain = partChain(name, part, number);
    return replies ? replyChain(chain) : chain;
  };
  const denying = new DenyingParts();
  const end = layout.mode === 'audit' ? 'would-deny' : 'denied';
  const isIsolated = isolates(program);
  const isAudited = audit !== undefined && !isIsolated && !replies;
  const ahead = program.stages.find(({ tier }) => tier === 'Admin');
  const behind = program.stages.filter((stage) => stage !== ahead);
  const deny = (by: readonly RuleRef[]): Target => ({ kind: 'goto', chain: to(end, denying.numberOf(by)) });
  const isPassed = (behind.length > 0 || isAudited) && ahead?.rules.some(({ action }) => action === 'Pass') === true;
  const goesOn: Target = { kind: 'goto', chain: to('next') };
  const ordered = (rules: readonly CompiledRule[], pass: Target): readonly Rule[] =>
    orderedRules(given, rules, { pass, deny }, replies);
  const main = [
    ...(isIsolated && !replies ? headRules(judgedOf(given)) : []),
    ...(ahead ? ordered(ahead.rules, isPassed ? goesOn : RETURN) : []),
  ];
  const next = [
    ...(isAudited ? [rule([], { kind: 'jump', chain: to('counted') })] : []),
    ...behind.flatMap((stage) =>
      stage.order === 'union' ? isolatingRules(given, name, replies) : ordered(stage.rules, RETURN),
    ),
  ];
  return {
    main: [...main, ...(isPassed ? [rule([], goesOn)] : next)],
    others: [
      ...(isPassed ? [{ part: 'next', number: 0, rules: next } as const] : []),
      ...denying.all().map(({ policies }, number) => {
        return { part: end, number, rules: deniedRules(given, policies, name, replies) } as const;
      }),
      ...(isAudited ? [{ part: 'counted', number: 0, rules: countedRules(given, name) } as const] : []),
    ],
  };
}

function hasDenials({ stages }: Program): boolean {
  return stages.some(({ rules }) => rules.some(({ action }) => action === 'Deny'));
}

/** Whose verdict is nobody's: what its audited policies count depends on whether NetworkPolicies isolate its pods. */
function asAudited(given: Given): Judged {
  return { ...judgedOf(given), policies: given.audit?.policies ?? [], isolates: isolates(given.program) };
}

function judgedOf({ program, family, layout }: Given): Judged {
  return { family, direction: program.direction, layout, policies: program.policies, isolates: true };
}

/** N-61. A rule that asks the same as one ahead of it decides nothing. */
function orderedRules(
  given: Given,
  rules: readonly CompiledRule[],
  { pass, deny }: { readonly pass: Target; readonly deny: (by: readonly RuleRef[]) => Target },
  replies: boolean,
): readonly Rule[] {
  const { program, family, names } = given;
  const asked = new Map<string, Rule>();
  for (const each of rules) {
    const { action, by } = each;
    for (const one of matchingRules(each, program.direction, family, names, action === 'Pass' ? pass : RETURN)) {
      const key = JSON.stringify(one.matches);
      if (asked.has(key)) continue;
      const counted = action === 'Accept' && !replies ? counting(one, 'allow', judgedOf(given)) : one;
      // What is denied is counted where it ends.
      const whole = action === 'Deny' ? { ...counted, target: deny(by) } : counted;
      asked.set(key, replies ? reverse(whole) : whole);
    }
  }
  return [...asked.values()];
}

/** The stage of NetworkPolicy, to its last verdict. */
function isolatingRules(given: Given, chain: string, replies: boolean): readonly Rule[] {
  const { program, audit, family, names } = given;
  const of = judgedOf(given);
  const allows = acceptingRules(program, family, names).map((each) => counting(each, 'allow', of));
  if (replies) return [...allows.map(reverse).map(uncounted), ...replyTail(of, chain)];
  return [...allows, ...tailRules(of, chain), ...auditing(audit, of, chain, names), verdict(of)];
}

/** `policies`: whose rules lead there. A pod's way to itself is judged as any other (N-71). */
function deniedRules(given: Given, policies: readonly PolicyRef[], chain: string, replies: boolean): readonly Rule[] {
  const of: Judged = { ...judgedOf(given), policies };
  const { layout } = given;
  const counts = (flow: CountedFlow) => ({ counts: countedFor(of, 'deny', flow) });
  if (layout.mode === 'audit')
    return [...logRules(of, 'would-deny', chain), { ...rule([], RETURN), counts: countedFor(of, 'would-deny', 'new') }];
  if (replies)
    return [...flagRules(layout), ...logRules(of, 'cut-reply', chain), { ...rule([], DROP), ...counts('live') }];
  return [
    ...flagRules(layout),
    ...logRules(of, 'cut', chain, [LIVE]),
    { ...rule([LIVE], DROP), ...counts('live') },
    ...logRules(of, 'denied', chain),
    { ...rule([], DROP), ...counts('new') },
  ];
}

/** What policies that are only audited would change, were they asked between the tiers. */
function countedRules(given: Given, chain: string): readonly Rule[] {
  const { audit, family, names } = given;
  const of = asAudited(given);
  const allows = acceptingRules(audit, family, names).map((each) => counting(each, 'allow', of));
  return auditedRules(audit!, of, chain, allows);
}
