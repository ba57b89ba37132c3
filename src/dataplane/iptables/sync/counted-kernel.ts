/** A kernel that tells those who read counters what becomes of chains, whoever writes. */
import type { Family } from '../../../core/vocabulary.ts';
import { type Kernel, withApply } from '../kernel/kernel.ts';
import type { Step } from '../plan/plan.ts';
import type { Ruleset } from '../rules/ruleset.ts';

import { deletesChains, writesRules } from '../plan/deletions-last.ts';
import { watchWrites } from '../drift/watched-kernel.ts';

/** Those who read what rules have counted. */
export interface RuleCounting {
  /** These rules are about to be written. */
  rendered(ruleset: Ruleset): void;
  /** Chains are about to go. `isLive`: packets come to them. Resolves soon, and never rejects. */
  beforeDeletion(family: Family, isLive: boolean): Promise<void>;
  /** A commit begins that writes these chains from their first rule on, where they are there already. */
  began(family: Family, chains: readonly string[]): void;
  /** `isDone`: else nothing of it went in. */
  ended(family: Family, chains: readonly string[], isDone: boolean): void;
}

export function countedKernel(kernel: Kernel, counting: RuleCounting): Kernel {
  return withApply(kernel, async (step) => {
    if (step.kind !== 'rules' && step.kind !== 'final-rules') return await kernel.apply(step);
    // A commit that changes verdicts is waited for by packets.
    if (deletesChains(step) && (step.kind === 'final-rules' || !writesRules(step)))
      await counting.beforeDeletion(step.family, step.kind === 'rules');
    return await written(kernel, counting, step);
  });
}

async function written(
  kernel: Kernel,
  counting: RuleCounting,
  step: Extract<Step, { readonly kind: 'rules' | 'final-rules' }>,
): Promise<readonly string[]> {
  if (!writesRules(step)) return await kernel.apply(step);
  const chains = step.lines.flatMap(({ text }) => (text.startsWith(':') ? [text.slice(1, text.indexOf(' '))] : []));
  const counted = watchWrites(kernel, {
    began: () => counting.began(step.family, chains),
    ended: (_, isDone) => counting.ended(step.family, chains, isDone),
  });
  return await counted.apply(step);
}
