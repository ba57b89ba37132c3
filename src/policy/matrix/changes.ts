/** What becomes of flows between two states of a cluster: which are newly allowed, and which newly denied. */
import type { Direction } from '../../core/vocabulary.ts';
import type { EndGroup } from './groups.ts';
import type { FlowMatrix, FlowVerdict, VerdictRows } from './matrix.ts';

import { classPairs } from './groups.ts';

export const CHANGES = ['newly-allowed', 'newly-denied'] as const;
export type Change = (typeof CHANGES)[number];

export interface FlowChange {
  readonly change: Change;
  readonly from: EndGroup;
  readonly to: EndGroup;
  /** Classes of ports with the same reasons. */
  readonly ports: readonly number[];
  /** Pairs of ends that it is true of. */
  readonly pairs: number;
  /** Of most of them; undefined: an end that is new had no flows. */
  readonly before: FlowVerdict | undefined;
  readonly after: FlowVerdict;
}

const BEFORE = 0;
const AFTER = 1;

/** Of ends that are there afterwards. What an end that is new may use is newly allowed; what it may not is no change. */
export function* changesBetween(
  matrix: FlowMatrix,
  sources: readonly EndGroup[],
  destinations: readonly EndGroup[],
  ports: readonly number[],
): Generator<FlowChange> {
  const judgedAnew = (direction: Direction, groups: readonly EndGroup[]): ReadonlySet<EndGroup> =>
    new Set(groups.filter(({ parts }) => parts.some(({ index }) => matrix.differs(direction, index))));
  const [senders, receivers] = [judgedAnew('egress', sources), judgedAnew('ingress', destinations)];
  for (const from of sources) {
    for (const to of senders.has(from) ? destinations : receivers) yield* changesOf(matrix, from, to, ports);
  }
}

interface Found {
  readonly change: Change;
  pairs: number;
  /** Of most pairs: indexes of verdicts before and after. */
  readonly reasons: Map<string, { readonly ids: readonly number[]; pairs: number }>;
}

function* changesOf(matrix: FlowMatrix, from: EndGroup, to: EndGroup, ports: readonly number[]): Generator<FlowChange> {
  const differing = differingPairs(matrix, from, to);
  if (differing.length === 0) return;
  const byPort = new Map<string, { readonly found: Found; readonly ports: number[] }>();
  for (const port of ports) {
    for (const found of changesAt(matrix, differing, port)) {
      const key = JSON.stringify([found.change, found.pairs, [...found.reasons.keys()].sort()]);
      const known = byPort.get(key);
      if (known) known.ports.push(port);
      else byPort.set(key, { found, ports: [port] });
    }
  }
  for (const { found, ports: same } of byPort.values()) yield changeOf(matrix, from, to, found, same);
}

interface DifferingPair {
  readonly pairs: number;
  readonly before: VerdictRows | undefined;
  readonly after: VerdictRows;
}

/** Equal rows are one object. */
function differingPairs(matrix: FlowMatrix, from: EndGroup, to: EndGroup): DifferingPair[] {
  return classPairs(matrix, from, to).flatMap(({ source, destination, pairs }): DifferingPair[] => {
    const after = matrix.rowsBetween(AFTER, source, destination);
    const before = matrix.rowsBetween(BEFORE, source, destination);
    if (!after || (before?.egress === after.egress && before.ingress === after.ingress)) return [];
    return [{ pairs, before, after }];
  });
}

function changesAt({ passes }: FlowMatrix, differing: readonly DifferingPair[], port: number): Found[] {
  const found = new Map<Change, Found>();
  for (const { pairs, before, after } of differing) {
    const ids = [before?.egress[port] ?? -1, before?.ingress[port] ?? -1, after.egress[port]!, after.ingress[port]!];
    const [was, is] = [passes[ids[0]!] === true && passes[ids[1]!] === true, passes[ids[2]!]! && passes[ids[3]!]!];
    if (was === is) continue;
    const change = is ? 'newly-allowed' : 'newly-denied';
    const known = found.get(change) ?? { change, pairs: 0, reasons: new Map() };
    found.set(change, known);
    known.pairs += pairs;
    const key = ids.join(' ');
    known.reasons.set(key, { ids, pairs: pairs + (known.reasons.get(key)?.pairs ?? 0) });
  }
  return [...found.values()];
}

function changeOf(
  { verdicts }: FlowMatrix,
  from: EndGroup,
  to: EndGroup,
  { change, pairs, reasons }: Found,
  ports: readonly number[],
): FlowChange {
  const [most] = [...reasons.values()].sort((a, b) => b.pairs - a.pairs);
  const [egress, ingress, laterEgress, laterIngress] = most!.ids.map((id) => verdicts[id]);
  const before = egress && ingress && { egress, ingress };
  return { change, from, to, ports, pairs, before, after: { egress: laterEgress!, ingress: laterIngress! } };
}
