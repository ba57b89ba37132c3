/** What the counter of each rule of an endpoint chain counts, told from the rules as values. */
import type { Direction, Family } from '../../../core/vocabulary.ts';
import type { CountedAction, CountedFlow, CountedFor } from '../../dataplane.ts';
import type { PolicyRef } from '../../../policy/model.ts';
import type { Chain } from '../rules/chain.ts';
import type { Rule } from '../rules/rule.ts';

import { objectKey } from '../../../policy/model.ts';
import { parseRule } from '../rules/parse-rule.ts';

/** What a count is a count of. */
export interface Counted {
  readonly action: CountedAction;
  readonly direction: Direction;
  readonly flow: CountedFlow;
  readonly of: CountedFor;
}

/** The rule at `index` adds to a count, or takes from it what another rule of the chain counts as well. */
export interface Share {
  readonly index: number;
  readonly counted: Counted;
  readonly sign: 1 | -1;
}

/** Whom a chain judges. */
export interface Judged {
  readonly direction: Direction;
  /** Of live flows, which are no connections that began. */
  readonly replies: boolean;
  readonly of: CountedFor;
}

/** Undefined: the chain judges no pods. `policies`: of its endpoint chain. */
export function judgedBy({ role }: Chain, policies: readonly PolicyRef[]): Judged | undefined {
  if (role.kind !== 'endpoint' && role.kind !== 'closed') return undefined;
  const of: CountedFor = role.kind === 'closed' ? { kind: 'closed' } : { kind: 'policies', policies };
  return { direction: role.direction, replies: role.replies, of };
}

/** `rules`: of a chain, in order; undefined: one that is not ours. */
export function sharesOf(rules: readonly (Rule | undefined)[], judged: Judged): readonly Share[] {
  const last = rules.findLastIndex((rule) => rule?.target.kind === 'return' || rule?.target.kind === 'drop');
  return rules.flatMap((rule, index) => (rule ? sharesOfRule(rule, index, index === last, judged) : []));
}

function sharesOfRule({ matches, target, by }: Rule, index: number, isLast: boolean, judged: Judged): Share[] {
  const { direction, replies, of } = judged;
  const share = (action: CountedAction, flow: CountedFlow, whose = of, sign: Share['sign'] = 1): Share => {
    return { index, counted: { action, direction, flow, of: whose }, sign };
  };
  switch (target.kind) {
    case 'drop':
      return [share('deny', matches.length === 0 ? 'new' : 'invalid')];
    // Stands ahead of the DROP, which counts the packet again.
    case 'set-denied-flag':
      return [share('deny', 'live'), share('deny', 'new', of, -1)];
    case 'return':
      // What nothing allowed comes to the last verdict; in audit mode that is this one.
      if (isLast) return [share('would-deny', 'new')];
      if (replies || matches.some(({ kind }) => kind === 'same-address')) return [];
      return [share('allow', 'new', by ? { kind: 'policies', policies: distinctPolicies(by) } : of)];
    case 'jump':
    case 'goto':
    case 'stamp-epoch':
    case 'log':
    case 'none':
      return [];
  }
}

function distinctPolicies(by: NonNullable<Rule['by']>): readonly PolicyRef[] {
  return [...new Map(by.map(({ policy }) => [objectKey(policy), policy])).values()];
}

/** `x/a ingress rules 0,2`, as a chain's legend names its policies. */
const LEGEND = /^([^/ ]+)\/([^/ ]+) (ingress|egress) (?:no rule|closed|rules [0-9,]+)$/;

/**
 * A chain of which only the lines are known, by its legend: of an agent before this one, or with rules that look past the members of
 * sets. What its rules allow is counted for all its policies together.
 */
export function readJudged(lines: readonly string[]): Judged | undefined {
  const policies: PolicyRef[] = [];
  let direction: Direction | undefined;
  for (const line of lines) {
    if (!line.startsWith('-m comment')) continue;
    const parsed = parseRule(line, 4);
    const match = parsed.kind === 'own' ? parsed.rule.matches[0] : undefined;
    const [, namespace, name, where] = LEGEND.exec(match?.kind === 'comment' ? match.text : '') ?? [];
    if (namespace === undefined) continue;
    policies.push({ namespace, name: name! });
    direction = where as Direction;
  }
  return direction && { direction, replies: false, of: { kind: 'policies', policies } };
}

export function parsedRule(line: string, family: Family): Rule | undefined {
  const parsed = parseRule(line, family);
  return parsed.kind === 'own' ? parsed.rule : undefined;
}
