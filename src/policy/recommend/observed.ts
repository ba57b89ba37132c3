/** Flows that were seen, and what is known of them as evidence. */
import type { Flow } from '../model.ts';

export interface ObservedFlow {
  readonly flow: Flow;
  /** How often: connections, or packets where nothing else was counted. */
  readonly count: number;
  /** Milliseconds since the epoch; absent: not known. */
  readonly firstMs?: number;
  readonly lastMs?: number;
  /** Where it was read: a file and line, or a node. */
  readonly from: string;
}

export interface Evidence {
  /** Different ones, by both addresses, protocol and port. */
  readonly flows: number;
  readonly count: number;
  readonly firstMs?: number;
  readonly lastMs?: number;
  /** The one seen most often. */
  readonly example: ObservedFlow;
}

/** At least one. */
export function evidenceOf(seen: readonly ObservedFlow[]): Evidence {
  const [first] = seen as readonly [ObservedFlow, ...ObservedFlow[]];
  const example = seen.reduce((most, each) => (each.count > most.count ? each : most), first);
  return { flows: seen.length, count: seen.reduce((sum, { count }) => sum + count, 0), ...spanOf(seen), example };
}

/** Each flow once, with what was seen of it added up. */
export function distinctFlows(seen: readonly ObservedFlow[]): readonly ObservedFlow[] {
  const found = Map.groupBy(seen, ({ flow: { source, destination, protocol, port } }) =>
    [source, destination, protocol, port].join(' '),
  );
  return [...found.values()].map((same): ObservedFlow => {
    const { count, example } = evidenceOf(same);
    return { flow: example.flow, count, ...spanOf(same), from: example.from };
  });
}

function spanOf(seen: readonly ObservedFlow[]): Pick<Evidence, 'firstMs' | 'lastMs'> {
  let [firstMs, lastMs] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  for (const { firstMs: first, lastMs: last } of seen) {
    firstMs = Math.min(firstMs, first ?? last ?? firstMs);
    lastMs = Math.max(lastMs, last ?? first ?? lastMs);
  }
  return Number.isFinite(firstMs) ? { firstMs, lastMs } : {};
}
