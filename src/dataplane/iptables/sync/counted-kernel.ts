/** A kernel that tells those who read counters what becomes of chains, whoever writes. */
import type { Family } from '../../../core/vocabulary.ts';
import { type Kernel, withApply } from '../kernel/kernel.ts';
import type { Step } from '../plan/plan.ts';
import type { Ruleset } from '../rules/ruleset.ts';

import { deletedChains, writesRules } from '../plan/deletions-last.ts';
import { isOverlay } from '../rules/names.ts';
import { watchWrites } from '../drift/watched-kernel.ts';

/** Those who read what rules have counted. */
export interface RuleCounting {
  /** These rules are about to be written. */
  rendered(ruleset: Ruleset): void;
  /** These chains are about to go. `isLive`: packets come to them. Resolves soon, and never rejects. */
  beforeDeletion(family: Family, chains: readonly string[], isLive: boolean): Promise<void>;
  /** A commit begins that writes these chains from their first rule on, where they are there already. */
  began(family: Family, chains: readonly string[]): void;
  /** So does one that puts a chain in the place of another, from the head of which it is reached. */
  covers(family: Family, overlay: string, chain: string): void;
  /** `isDone`: else nothing of it went in. */
  ended(family: Family, chains: readonly string[], isDone: boolean): void;
}

export function countedKernel(kernel: Kernel, counting: RuleCounting): Kernel {
  return withApply(kernel, async (step) => {
    if (step.kind !== 'rules' && step.kind !== 'final-rules') return await kernel.apply(step);
    // A commit that changes verdicts is waited for by packets.
    const gone = deletedChains(step);
    if (gone.length > 0 && (step.kind === 'final-rules' || !writesRules(step)))
      await counting.beforeDeletion(step.family, gone, step.kind === 'rules');
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
  for (const { text, object } of step.lines) {
    const target = text.startsWith('-I ') ? text.slice(text.lastIndexOf(' ') + 1) : '';
    if (isOverlay(target)) counting.covers(step.family, target, object);
  }
  const counted = watchWrites(kernel, {
    began: () => counting.began(step.family, chains),
    ended: (_, isDone) => counting.ended(step.family, chains, isDone),
  });
  return await counted.apply(step);
}
