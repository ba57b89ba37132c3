/** Our rules in the built-in chains: first, each once, and nobody else's touched. */
import type { Hook } from '../rules/ruleset.ts';
import type { ObservedFamily, PlanLine } from './plan.ts';

import { sameLines } from '../rules/chain.ts';
import { isOurChain } from '../../chain-names.ts';
import { leadsTo } from '../rules/parse-rule.ts';
import { HOOKS } from '../rules/ruleset.ts';

/** What our rules in a built-in chain shall be, as text. */
export type HookLines = Readonly<Record<Hook, readonly string[]>>;

/**
 * A rule of ours in a built-in chain: of this layout, an earlier or a later one. Whatever leads to a chain with our prefix is; others
 * have no reason to go there, and what they do in chains of their own is left alone.
 */
export function isHookLine(line: string): boolean {
  return isOurChain(leadsTo(line) ?? '');
}

/** The hooks where our rules are not what they shall be, or not first, or there more than once. */
export function misplacedHooks(desired: HookLines, { hooks }: Pick<ObservedFamily, 'hooks'>): readonly Hook[] {
  return HOOKS.filter((hook) => {
    const lines = desired[hook];
    const isInPlace = sameLines(hooks[hook].slice(0, lines.length), lines);
    return !isInPlace || hooks[hook].filter(isHookLine).length !== lines.length;
  });
}

export function hooksAfter(desired: HookLines, { hooks }: Pick<ObservedFamily, 'hooks'>): ObservedFamily['hooks'] {
  const after = (hook: Hook): string[] => [...desired[hook], ...hooks[hook].filter((line) => !isHookLine(line))];
  return { FORWARD: after('FORWARD'), INPUT: after('INPUT') };
}

/** Lines of a restore that take our rules out wherever they are, and put in the wanted ones. A rule that is no longer there fails it. */
export function placeHooks(desired: HookLines, before: Pick<ObservedFamily, 'hooks' | 'elsewhere'>): PlanLine[] {
  return [
    ...removeElsewhere(before),
    ...misplacedHooks(desired, before).flatMap((hook) => [
      ...before.hooks[hook].filter(isHookLine).map((line) => ({ text: `-D ${hook} ${line}`, object: hook })),
      ...desired[hook].map((line, index) => ({ text: `-I ${hook} ${index + 1} ${line}`, object: hook })),
    ]),
  ];
}

/** This layout has no rules in other built-in chains. */
export function removeElsewhere({ elsewhere = [] }: Pick<ObservedFamily, 'elsewhere'>): PlanLine[] {
  return elsewhere.map(({ chain, line }) => ({ text: `-D ${chain} ${line}`, object: chain }));
}
