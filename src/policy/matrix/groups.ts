/** Ends in the groups that people think in, and what is allowed between two of them. */
import type { EndKind } from './ends.ts';
import type { FlowMatrix } from './matrix.ts';

export interface GroupName {
  /** Of a workload its kind; `outside`, `nodes`. */
  readonly kind: string;
  /** Empty: none. */
  readonly namespace: string;
  readonly name: string;
}

export interface EndGroup extends GroupName {
  readonly type: EndKind;
  /** Names of its ends, each once, sorted. */
  readonly members: readonly string[];
  /** Its classes, and how many of the ends of each are its own. */
  readonly parts: readonly { readonly index: number; readonly count: number }[];
}

/** Pods first, by namespace and name; then nodes, then the outside. */
export function groupEnds(
  { classes }: Pick<FlowMatrix, 'classes'>,
  nameOf: (type: EndKind, member: string) => GroupName,
): readonly EndGroup[] {
  const found = new Map<string, { name: GroupName; type: EndKind; members: Set<string>; parts: Map<number, number> }>();
  for (const [index, { kind: type, members }] of classes.entries()) {
    for (const member of members) {
      const name = nameOf(type, member);
      const key = JSON.stringify([type, name.kind, name.namespace, name.name]);
      const group = found.get(key) ?? { name, type, members: new Set<string>(), parts: new Map<number, number>() };
      found.set(key, group);
      group.members.add(member);
      group.parts.set(index, (group.parts.get(index) ?? 0) + 1);
    }
  }
  return [...found.values()]
    .map(({ name, type, members, parts }) => ({
      ...name,
      type,
      members: [...members].sort(),
      parts: [...parts].map(([index, count]) => ({ index, count })),
    }))
    .sort(compareGroups);
}

const ORDER = { pod: 0, node: 1, outside: 2 } as const satisfies Record<EndKind, number>;

function compareGroups(a: EndGroup, b: EndGroup): number {
  if (a.type !== b.type) return ORDER[a.type] - ORDER[b.type];
  const [one, other] = [a, b].map(({ namespace, name, kind }) => `${namespace}\0${name}\0${kind}`);
  return one! < other! ? -1 : 1;
}

export interface ClassPair {
  readonly source: number;
  readonly destination: number;
  /** Pairs of two different ends. */
  readonly pairs: number;
}

/** Without those of two families, and those that no policy is asked about. */
export function classPairs({ classes }: Pick<FlowMatrix, 'classes'>, from: EndGroup, to: EndGroup): ClassPair[] {
  if (from.type !== 'pod' && to.type !== 'pod') return [];
  return from.parts.flatMap(({ index: source, count }) =>
    to.parts.flatMap(({ index: destination, count: others }): ClassPair[] => {
      if (classes[source]!.family !== classes[destination]!.family) return [];
      const pairs = from === to && source === destination ? count * (count - 1) : count * others;
      return pairs === 0 ? [] : [{ source, destination, pairs }];
    }),
  );
}

/** Of pairs of ends between two groups. */
export interface Cell {
  readonly total: number;
  /** By class of ports: how many of them are allowed. */
  readonly allowed: readonly number[];
}

/** Undefined: there is nobody to ask about. */
export function cellBetween(matrix: FlowMatrix, world: number, from: EndGroup, to: EndGroup): Cell | undefined {
  const { ports, passes } = matrix;
  const allowed = new Array<number>(ports.length).fill(0);
  let total = 0;
  for (const { source, destination, pairs } of classPairs(matrix, from, to)) {
    const rows = matrix.rowsBetween(world, source, destination);
    if (!rows) continue;
    total += pairs;
    const { egress, ingress } = rows;
    for (let port = 0; port < allowed.length; port++)
      if (passes[egress[port]!]! && passes[ingress[port]!]!) allowed[port]! += pairs;
  }
  return total === 0 ? undefined : { total, allowed };
}

export interface Reason {
  readonly egress: number;
  readonly ingress: number;
  readonly pairs: number;
}

/** Both verdicts, as indexes, at one class of ports; the commonest first. */
export function reasonsBetween(
  matrix: FlowMatrix,
  world: number,
  from: EndGroup,
  to: EndGroup,
  port: number,
): readonly Reason[] {
  const found = new Map<string, Reason>();
  for (const { source, destination, pairs } of classPairs(matrix, from, to)) {
    const rows = matrix.rowsBetween(world, source, destination);
    if (!rows) continue;
    const [egress, ingress] = [rows.egress[port]!, rows.ingress[port]!];
    const key = `${egress} ${ingress}`;
    found.set(key, { egress, ingress, pairs: pairs + (found.get(key)?.pairs ?? 0) });
  }
  return [...found.values()].sort((a, b) => b.pairs - a.pairs);
}
