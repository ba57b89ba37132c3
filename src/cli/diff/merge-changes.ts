/** Changes as people read them: those with the same ports and reasons together, the gravest first. */
import type { EndGroup } from '../../policy/matrix/groups.ts';
import type { Change, FlowChange } from '../../policy/matrix/changes.ts';

export interface MergedChange {
  readonly change: Change;
  readonly from: readonly EndGroup[];
  readonly to: readonly EndGroup[];
  readonly pairs: number;
  /** One of them, for its ports and reasons. */
  readonly example: FlowChange;
}

/** By the destination, then those with the same sources. */
export function mergeChanges(changes: readonly FlowChange[]): readonly MergedChange[] {
  const single = changes.map((each): MergedChange => {
    return { change: each.change, from: [each.from], to: [each.to], pairs: each.pairs, example: each };
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
  return [change, ports, before, after];
}

function merged(changes: readonly MergedChange[], keyOf: (change: MergedChange) => unknown): MergedChange[] {
  return [...Map.groupBy(changes, (each) => JSON.stringify(keyOf(each))).values()].map((same): MergedChange => {
    const [first] = same as [MergedChange, ...MergedChange[]];
    return {
      ...first,
      from: [...new Set(same.flatMap(({ from }) => from))],
      to: [...new Set(same.flatMap(({ to }) => to))],
      pairs: same.reduce((sum, { pairs }) => sum + pairs, 0),
    };
  });
}

/** What becomes reachable from outside, then what may reach the outside, then the rest. */
function gravity({ change, from, to }: MergedChange): number {
  if (change === 'newly-denied') return 0;
  if (from.some(({ type }) => type === 'outside')) return 2;
  return to.some(({ type }) => type === 'outside') ? 1 : 0;
}
