/** Changes as people read them: those with the same ports and reasons together, the gravest first. */
import type { EndGroup } from '../../policy/matrix/groups.ts';
import type { Change, FlowChange } from '../../policy/matrix/changes.ts';
import type { DirectionVerdict } from '../../policy/model.ts';

import { DIRECTIONS } from '../../core/vocabulary.ts';

export interface MergedChange {
  readonly change: Change;
  readonly from: readonly EndGroup[];
  readonly to: readonly EndGroup[];
  readonly pairs: number;
  /** One of them, for its ports and reasons. */
  readonly example: FlowChange;
  /** Others have the same answers by other NetworkPolicies, beside the same rule of a cluster-wide policy. */
  readonly isVaried: boolean;
}

/** By the destination, then those with the same sources. */
export function mergeChanges(changes: readonly FlowChange[]): readonly MergedChange[] {
  const single = changes.map((each): MergedChange => {
    return { change: each.change, from: [each.from], to: [each.to], pairs: each.pairs, example: each, isVaried: false };
  });
  const ids = new Map<EndGroup, number>();
  const idOf = (group: EndGroup): number => {
    ids.set(group, ids.get(group) ?? ids.size);
    return ids.get(group)!;
  };
  const bySources = merged(single, ({ to, example }) => [to.map(idOf), whatOf(example)]);
  const both = merged(bySources, ({ from, example }) => [from.map(idOf), whatOf(example)]);
  return both.toSorted((a, b) => gravity(b) - gravity(a) || b.pairs - a.pairs);
}

function whatOf({ change, ports, before, after }: FlowChange): unknown[] {
  return [change, ports, ...DIRECTIONS.map((direction) => answersOf(before?.[direction], after[direction]))];
}

/** A rule of a tier that comes or goes is one change, whichever NetworkPolicies decide without it. */
function answersOf(before: DirectionVerdict | undefined, after: DirectionVerdict): unknown[] {
  if (before && after.kind === 'tier-rule') return [before.kind === 'tier-rule' ? before : before.kind, after];
  return [before, before?.kind === 'tier-rule' ? after.kind : after];
}

function merged(changes: readonly MergedChange[], keyOf: (change: MergedChange) => unknown): MergedChange[] {
  return [...Map.groupBy(changes, (each) => JSON.stringify(keyOf(each))).values()].map((same): MergedChange => {
    const [first] = same as [MergedChange, ...MergedChange[]];
    return {
      ...first,
      from: [...new Set(same.flatMap(({ from }) => from))],
      to: [...new Set(same.flatMap(({ to }) => to))],
      pairs: same.reduce((sum, { pairs }) => sum + pairs, 0),
      isVaried: same.some(({ isVaried, example }) => isVaried || !isSameReason(example, first.example)),
    };
  });
}

function isSameReason(one: FlowChange, other: FlowChange): boolean {
  return JSON.stringify([one.before, one.after]) === JSON.stringify([other.before, other.after]);
}

/** What becomes reachable from outside, then what may reach the outside, then the rest. */
function gravity({ change, from, to }: MergedChange): number {
  if (change === 'newly-denied') return 0;
  if (from.some(({ type }) => type === 'outside')) return 2;
  return to.some(({ type }) => type === 'outside') ? 1 : 0;
}
