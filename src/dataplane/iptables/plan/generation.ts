/** Generations of judged flows (see the layout in render-node.ts): reading the one in force, and the next. */
import type { MarkBits } from '../rules/ruleset.ts';
import type { ObservedFamily } from './plan.ts';

import { FORWARD_CHAIN, INPUT_CHAIN } from '../rules/names.ts';
import { deniedBit, EVERY_PACKET, generationCount } from '../rules/write-text.ts';

/** The generation in force, from a live stamp rule, or EVERY_PACKET; undefined if there is none under this mask. */
export function readGeneration(before: ObservedFamily, marks: MarkBits): number | undefined {
  const entries = [FORWARD_CHAIN, INPUT_CHAIN].flatMap((chain) => before.chains.get(chain) ?? []);
  for (const line of entries) {
    const found = /^-j CONNMARK --set-xmark 0x([0-9a-f]+)\/0x([0-9a-f]+)$/.exec(line);
    if (!found || Number.parseInt(found[2]!, 16) !== marks.mask >>> 0) continue;
    const generation = Number.parseInt(found[1]!, 16) / (deniedBit(marks) * 2);
    if (Number.isInteger(generation) && generation >= EVERY_PACKET && generation <= generationCount(marks))
      return generation;
  }
  return undefined;
}

export function nextGeneration(current: number, marks: MarkBits): number {
  return (current % generationCount(marks)) + 1;
}
