/** What the counter of each rule of an endpoint chain counts, told from the rules as values. */
import type { Direction, Family } from '../../../core/vocabulary.ts';
import type { ChainPart } from '../../chain-names.ts';
import type { CountedAction, CountedFlow, CountedFor } from '../../dataplane.ts';
import type { PolicyRef } from '../../../policy/model.ts';
import type { Chain } from '../rules/chain.ts';
import type { Match, Rule } from '../rules/rule.ts';
import type { EndpointChain } from '../rules/ruleset.ts';

import { objectKey } from '../../../policy/model.ts';
import { DIRECTIONS } from '../../../core/vocabulary.ts';
import { closedChain, partOf, replyChain } from '../../chain-names.ts';
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
  // What leads there was counted where it came from.
  if (role.kind === 'endpoint' && (role.part === 'denied' || role.part === 'would-deny')) return undefined;
  const of: CountedFor = role.kind === 'closed' ? { kind: 'closed' } : { kind: 'policies', policies };
  return { direction: role.direction, replies: role.replies, of };
}

/** Whose counts the chain's are, or the part's of a chain. */
export function policiesOf(endpoint: EndpointChain | undefined, part?: ChainPart): readonly PolicyRef[] {
  return (part === 'counted' ? endpoint?.audit?.policies : endpoint?.policies) ?? [];
}

/** A chain for pods whose own could not be made: it is not among the rules wanted, and has no legend. */
export function judgedWhenClosed(chain: string): Judged | undefined {
  for (const direction of DIRECTIONS) {
    const name = closedChain(direction);
    if (chain === name) return { direction, replies: false, of: { kind: 'closed' } };
    if (chain === replyChain(name)) return { direction, replies: true, of: { kind: 'closed' } };
  }
  return undefined;
}

/** `rules`: of a chain, in order; undefined: one that is not ours. */
export function sharesOf(rules: readonly (Rule | undefined)[], judged: Judged): readonly Share[] {
  const last = rules.findLastIndex(
    (rule) => !rule?.by && (rule?.target.kind === 'return' || rule?.target.kind === 'drop'),
  );
  const tellsLive = rules.some((rule) => rule?.target.kind === 'set-denied-flag');
  return rules.flatMap((rule, index) => {
    return rule ? sharesOfRule(rule, index, { ...judged, isLast: index === last, tellsLive }) : [];
  });
}

interface Place extends Judged {
  /** The last verdict of the chain. */
  readonly isLast: boolean;
  /** Packets of live flows meet a rule of their own. */
  readonly tellsLive: boolean;
}

function sharesOfRule({ matches, target, by, isAudit }: Rule, index: number, place: Place): Share[] {
  const { direction, replies, of, isLast, tellsLive } = place;
  const share = (action: CountedAction, flow: CountedFlow, whose = of, sign: Share['sign'] = 1): Share => {
    return { index, counted: { action, direction, flow, of: whose }, sign };
  };
  const whose: CountedFor = by ? { kind: 'policies', policies: distinctPolicies(by) } : of;
  switch (target.kind) {
    case 'drop':
      if (isAudit) return [share('deny', 'new'), share('would-allow', 'new', whose)];
      if (matches.some(({ kind }) => kind === 'conntrack')) return [share('deny', 'invalid')];
      return [share('deny', replies && !tellsLive ? 'live' : 'new')];
    // Stands ahead of the DROP, which counts the packet again.
    case 'set-denied-flag':
      return [share('deny', 'live'), share('deny', 'new', of, -1)];
    case 'return':
      if (replies || matches.some(({ kind }) => UNCOUNTED.has(kind))) return [];
      if (isAudit) return [share('would-deny', 'new'), share('would-allow', 'new', whose)];
      // What nothing allowed comes to the last verdict; where nothing is denied that is this one.
      if (isLast) return [share('would-deny', 'new')];
      return [share('allow', 'new', whose)];
    case 'goto': {
      const part = partOf(target.chain);
      if (part === 'denied') return [share('deny', replies ? 'live' : 'new', whose)];
      return part === 'would-deny' && !replies ? [share('would-deny', 'new', whose)] : [];
    }
    case 'jump':
    case 'stamp-epoch':
    case 'log':
    case 'none':
      return [];
  }
}

/** A pod's way to itself, and what is no first packet. */
const UNCOUNTED: ReadonlySet<Match['kind']> = new Set(['same-address', 'conntrack-confirmed', 'conntrack-not']);

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
