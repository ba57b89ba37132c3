/** What the counter of each rule of an endpoint chain counts, told from the rules as values. */
import type { Direction, Family } from '../../../core/vocabulary.ts';
import type { CountedAction, CountedFlow, CountedFor } from '../../dataplane.ts';
import type { Counted } from '../../count-totals.ts';
import type { PolicyRef } from '../../../policy/model.ts';
import type { Chain } from '../rules/chain.ts';
import type { Match, Rule } from '../rules/rule.ts';
import type { EndpointChain } from '../rules/ruleset.ts';

import { objectKey } from '../../../policy/model.ts';
import { DIRECTIONS } from '../../../core/vocabulary.ts';
import { CHAIN_PARTS, closedChain, isAlone, replyChain } from '../../chain-names.ts';
import { parseRule } from '../rules/parse-rule.ts';

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
  /** Present: what comes to its end would be denied by one audited policy, whatever the others say. */
  readonly alone?: 'also' | 'only';
}

/** Undefined: the chain judges no pods. `endpoint`: the endpoint chain that it is part of. */
export function judgedBy({ role }: Chain, endpoint: EndpointChain | undefined): Judged | undefined {
  if (role.kind !== 'endpoint' && role.kind !== 'closed') return undefined;
  const { direction, replies } = role;
  if (role.kind === 'closed') return { direction, replies, of: { kind: 'closed' } };
  if (role.part === 'denied' || role.part === 'would-deny')
    return role.deniers && { direction, replies, of: { kind: 'policies', policies: role.deniers } };
  const { policies = [], audit } = endpoint ?? {};
  const { part } = role;
  if (isAlone(part)) {
    const policy = audit?.policies[CHAIN_PARTS.filter(isAlone).indexOf(part)];
    return { direction, replies, of: { kind: 'policies', policies: policy ? [policy] : [] }, alone: 'only' };
  }
  const audited = part === 'counted' || audit?.without === undefined ? audit?.policies : undefined;
  const of: CountedFor = { kind: 'policies', policies: audited ?? policies };
  return { direction, replies, of, ...(audited?.length === 1 ? { alone: 'also' } : {}) };
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
  const { direction, replies, of, alone, isLast, tellsLive } = place;
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
      if (alone === 'only') return aloneShares(share, whose, isAudit, isLast);
      if (isAudit) return [share('would-deny', 'new'), share('would-allow', 'new', whose)];
      // What nothing allowed comes to the last verdict; where nothing is denied that is this one.
      if (isLast) return [share('would-deny', 'new'), ...(alone ? [share('would-deny-alone', 'new')] : [])];
      return [share('allow', 'new', whose)];
    // What leads to a part that denies is counted there.
    case 'goto':
    case 'jump':
    case 'stamp-epoch':
    case 'log':
    case 'none':
      return [];
  }
}

type ToShare = (action: CountedAction, flow: CountedFlow, whose?: CountedFor) => Share;

/** What the policy allows is counted by the chain that leads here, but for what those in force deny. */
function aloneShares(share: ToShare, whose: CountedFor, isAudit: true | undefined, isLast: boolean): Share[] {
  if (isAudit) return [share('would-allow', 'new', whose)];
  return isLast ? [share('would-deny-alone', 'new')] : [];
}

/** A pod's way to itself, and what is no first packet. */
const UNCOUNTED: ReadonlySet<Match['kind']> = new Set(['same-address', 'conntrack-confirmed', 'conntrack-not']);

function distinctPolicies(by: NonNullable<Rule['by']>): readonly PolicyRef[] {
  return [...new Map(by.map(({ policy }) => [objectKey(policy), policy])).values()];
}

/** `denied by cluster-wide guard ingress rules 0,2`: of a part that denies. */
const DENIER = /^denied by cluster-wide (\S+) (ingress|egress) rules [0-9,]+$/;
/** `x/a ingress rules 0,2`, as a chain's legend names its policies; those that are audited: `x/a ingress audit: rules 0,2`. */
const LEGEND = /^([^/ ]+)\/([^/ ]+) (ingress|egress) (audit: )?(?:no rule|closed|rules [0-9,]+)$/;

/**
 * A chain of which only the lines are known, by its legend: of an agent before this one, or with rules that look past the members of
 * sets. What its rules allow is counted for all its policies together.
 */
export function readJudged(lines: readonly string[]): Judged | undefined {
  const all = legendOf(lines);
  const deniers = all.filter(({ isDenier }) => isDenier);
  const whose = deniers.length > 0 ? deniers : all.filter(({ isAudited }) => !isAudited);
  const [first] = whose;
  return (
    first && {
      direction: first.direction,
      replies: false,
      of: { kind: 'policies', policies: whose.map(({ policy }) => policy) },
    }
  );
}

/** The audited policies that a chain's legend names. */
export function readAudited(lines: readonly string[]): readonly PolicyRef[] {
  return legendOf(lines).flatMap(({ policy, isAudited }) => (isAudited ? [policy] : []));
}

interface Named {
  readonly policy: PolicyRef;
  readonly direction: Direction;
  readonly isAudited: boolean;
  readonly isDenier: boolean;
}

function legendOf(lines: readonly string[]): readonly Named[] {
  return lines.flatMap((line): Named[] => {
    if (!line.startsWith('-m comment')) return [];
    const parsed = parseRule(line, 4);
    const match = parsed.kind === 'own' ? parsed.rule.matches[0] : undefined;
    const text = match?.kind === 'comment' ? match.text : '';
    const [, denier, whither] = DENIER.exec(text) ?? [];
    if (denier !== undefined)
      return [named({ namespace: '', name: denier }, whither as Direction, { isAudited: false, isDenier: true })];
    const [, namespace, name, direction, audit] = LEGEND.exec(text) ?? [];
    if (namespace === undefined) return [];
    const isAudited = audit !== undefined;
    return [named({ namespace, name: name! }, direction as Direction, { isAudited, isDenier: false })];
  });
}

function named(policy: PolicyRef, direction: Direction, how: Pick<Named, 'isAudited' | 'isDenier'>): Named {
  return { policy, direction, ...how };
}

export function parsedRule(line: string, family: Family): Rule | undefined {
  const parsed = parseRule(line, family);
  return parsed.kind === 'own' ? parsed.rule : undefined;
}
