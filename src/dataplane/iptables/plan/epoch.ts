/** Epochs of judged flows (see the layout in render-node.ts): reading the one in force, and the next. */
import type { MarkBits } from '../rules/rule.ts';
import type { ObservedFamily } from './plan.ts';

import { FORWARD_CHAIN, INPUT_CHAIN } from '../rules/names.ts';
import { epochCount } from '../rules/write-text.ts';
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

export function nextEpoch(current: number, marks: MarkBits): number {
  return (current % epochCount(marks)) + 1;
}
