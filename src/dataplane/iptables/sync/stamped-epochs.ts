/** Epochs of the rules that stood when the agent began. */
import { FAMILIES, type Family } from '../../../core/vocabulary.ts';
import type { MarkBits } from '../../mark-bits.ts';
import type { ObservedFamily } from '../plan/plan.ts';

import { asItJudges } from '../plan/add-only.ts';
import { readEpoch } from '../plan/epoch.ts';

/** The epoch in force of each family whose rules were read. */
export function stampedEpochs(
  families: Readonly<Partial<Record<Family, ObservedFamily>>>,
  marks: MarkBits,
): ReadonlyMap<Family, number | undefined> {
  return new Map(
    FAMILIES.flatMap((family) => {
      const found = families[family];
      return found ? [[family, readEpoch(asItJudges(found, family), marks)] as const] : [];
    }),
  );
}
