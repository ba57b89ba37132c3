/** Epochs of judged flows (see the layout in render-node.ts): reading the one in force. */
import type { MarkBits } from '../../mark-bits.ts';
import type { ObservedFamily } from './plan.ts';

import { epochCount } from '../../mark-bits.ts';
import { FORWARD_CHAIN, INPUT_CHAIN } from '../rules/names.ts';
import { textOf } from './chain-reading.ts';

/** The epoch in force, from a live stamp rule, or EVERY_PACKET; undefined if there is none under this mask. */
export function readEpoch(before: ObservedFamily, marks: MarkBits): number | undefined {
  // A stamp reads the same in both families.
  for (const name of [FORWARD_CHAIN, INPUT_CHAIN]) {
    for (const { mark, rule } of textOf(4, before, name)?.stamps ?? []) {
      const { mask, epoch } = mark!;
      const isOurs = rule.matches.length === 0 && mask === marks.mask >>> 0;
      if (isOurs && epoch! <= epochCount(marks)) return epoch;
    }
  }
  return undefined;
}
