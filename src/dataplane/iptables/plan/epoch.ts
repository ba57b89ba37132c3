/** Epochs of judged flows (see the layout in render-node.ts): reading the one in force. */
import type { MarkBits } from '../../mark-bits.ts';
import type { ObservedFamily } from './plan.ts';

import { epochCount } from '../../mark-bits.ts';
import { FORWARD_CHAIN, INPUT_CHAIN } from '../rules/names.ts';
import { textOf } from './chain-reading.ts';

/** The epoch in force, from a live stamp rule, or EVERY_PACKET; undefined if there is none under this mask. */
export function readEpoch(before: ObservedFamily, marks: MarkBits): number | undefined {
  // A stamp reads the same in both families.
  for (const parsed of [FORWARD_CHAIN, INPUT_CHAIN].flatMap((name) => textOf(4, before, name)?.rules ?? [])) {
    if (parsed.kind === 'foreign' || parsed.rule.target.kind !== 'stamp-epoch') continue;
    const { mask, epoch } = parsed.mark!;
    const isOurs = parsed.rule.matches.length === 0 && mask === marks.mask >>> 0;
    if (isOurs && epoch! <= epochCount(marks)) return epoch;
  }
  return undefined;
}
