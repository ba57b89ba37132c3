/** Whether a change of rules takes a permission away: live flows have to be judged again then. Errs towards yes. */
import type { Sliced } from '../../../core/sliced.ts';
import type { Chain, ChainText } from '../rules/chain.ts';
import type { ParsedRule } from '../rules/parse-rule.ts';
import type { Rule } from '../rules/rule.ts';
import type { FamilyRules } from '../rules/ruleset.ts';
import type { ChainReading } from './chain-reading.ts';

import { Groups } from '../../../core/groups.ts';
import { revokes } from '../../judgement.ts';
import { JUDGING_ORDER } from '../../judgings.ts';
import { isAlone, partOf, replyChain } from '../../chain-names.ts';
import { replyDispatchChain } from '../rules/names.ts';
import { isDispatchRule } from './chain-reading.ts';
import { judgedBy } from './judgement.ts';

type Chains = ReadonlyMap<string, ChainText>;

/** `chains`: all that there will be behind the entry, of which `desired` are those we make. */
export function* rulesRevoke(
  dispatch: FamilyRules['dispatch'],
  desired: ReadonlyMap<string, Chain>,
  chains: Chains,
  actual: ChainReading,
): Sliced<boolean> {
  if (isDispatchEdited(actual, chains) || guardsRevoke(desired, chains, actual)) return true;
  return yield* dispatchRevokes(dispatch, chains, actual);
}

/** Somebody put rules into the chains that lead to the endpoint chains: packets may have gone past those. */
function isDispatchEdited(actual: ChainReading, chains: Chains): boolean {
  for (const name of actual.dispatchParts()) {
    const text = actual.text(name)!;
    const ours = chains.get(name);
    if (text === ours) continue;
    const own = new Set(ours?.lines);
    if (text.rules.some((rule) => !isDispatchRule(rule) && !own.has(rule.line))) return true;
  }
  return false;
}

/** An interface is guarded that was not, or by stricter rules: flows at addresses that are not listed went past those. */
function guardsRevoke(desired: ReadonlyMap<string, Chain>, chains: Chains, actual: ChainReading): boolean {
  for (const { name, role } of desired.values()) {
    const text = chains.get(name)!;
    if (role.kind !== 'guard' || text === actual.text(name)) continue;
    const current = new Map((actual.text(name)?.rules ?? []).flatMap(guardOf));
    for (const [match, target] of text.rules.flatMap(guardOf)) {
      const now = current.get(match);
      if (!mayDeny(chains.get(target))) continue;
      if (now === undefined) return true;
      if (now !== target && revokes(judgedBy(now, actual), judgedBy(target, chains))) return true;
    }
  }
  return false;
}

/** What an interface's rule matches, and the chain that it leads to; nothing for what leads nowhere. */
function guardOf(parsed: ParsedRule): (readonly [match: string, target: string])[] {
  if (parsed.kind === 'foreign' || parsed.rule.target.kind !== 'goto') return [];
  const { chain } = parsed.rule.target;
  return [[parsed.line.slice(0, -chain.length), chain]];
}

/** An address is newly isolated, or goes to a chain that allows less. */
function* dispatchRevokes(dispatch: FamilyRules['dispatch'], chains: Chains, actual: ChainReading): Sliced<boolean> {
  for (const direction of JUDGING_ORDER) {
    const targets = actual.targets(direction);
    const repliesFollow = chains.has(replyDispatchChain(direction)) ? actual.repliesFollow(direction) : undefined;
    /** Moves from one chain to another that take nothing away, by where they lead: many addresses make the same. */
    const harmless = new Groups<string, string>();
    yield;
    for (const address of dispatch[direction].keys()) {
      const target = dispatch[direction].get(address)!;
      const now = targets.get(address);
      const isKnown = now !== undefined && harmless.get(target)?.has(now) === true;
      if (!isKnown && !mayDeny(chains.get(target))) continue;
      if (now === undefined || (repliesFollow && !repliesFollow(address, now))) return true;
      if (isKnown) continue;
      if (
        now === target &&
        chains.has(target) &&
        [target, replyChain(target)].every((name) => isUntouched(name, chains, actual))
      ) {
        harmless.add(target, now);
        continue;
      }
      if (revokes(judgedBy(now, actual), judgedBy(target, chains))) return true;
      if (repliesRevoke(now, target, chains, actual)) return true;
      harmless.add(target, now);
      yield;
    }
  }
  return false;
}

/** The chain stays as it is, and so does all that judges behind it, as nothing does; or there is none, before and after. */
function isUntouched(name: string, chains: Chains, actual: ChainReading): boolean {
  const text = chains.get(name);
  return text === actual.text(name) && !text?.leadsOn;
}

/** The same of the replies, where they are judged. */
function repliesRevoke(now: string, target: string, chains: Chains, actual: ChainReading): boolean {
  const to = judgedBy(replyChain(target), chains);
  return to !== undefined && revokes(judgedBy(replyChain(now), actual), to);
}

/** A chain that counts for audited policies alone does not. */
function mayDeny(to: ChainText | undefined): boolean {
  return !to || to.rules.some((parsed) => parsed.kind === 'foreign' || !passes(parsed.rule.target));
}

function passes(target: Rule['target']): boolean {
  return PASSES.has(target.kind) || (target.kind === 'jump' && isAlone(partOf(target.chain)));
}

const PASSES: ReadonlySet<Rule['target']['kind']> = new Set(['return', 'log', 'none']);
