/** A rule's port entries, split into what can be matched by number and what must be looked up by name. */
import { PROTOCOLS } from '../core/vocabulary.ts';
import type { PortRange } from '../net/port-range.ts';
import type { Protocol } from '../core/vocabulary.ts';
import type { PortMatch } from '../policy/model.ts';

import { mergePortRanges } from '../net/port-range.ts';

export interface NamedPortRef {
  readonly protocol: Protocol;
  readonly name: string;
}

export interface SplitPorts {
  /** One entry per protocol that occurs, in the order TCP, UDP, SCTP; ranges disjoint and ascending. */
  readonly numeric: readonly { readonly protocol: Protocol; readonly ranges: readonly PortRange[] }[];
  /** Sorted by name, then protocol; without duplicates. */
  readonly named: readonly NamedPortRef[];
}

export function splitPorts(ports: readonly PortMatch[] | 'any'): SplitPorts | 'any' {
  if (ports === 'any') return 'any';
  const numeric = PROTOCOLS.map((protocol) => ({
    protocol,
    ranges: mergePortRanges(ports.filter((port) => port.kind === 'range').filter((port) => port.protocol === protocol)),
  })).filter(({ ranges }) => ranges.length > 0);
  return { numeric, named: distinctNames(ports.filter((port) => port.kind === 'named')) };
}

/** Sorted by name, then protocol; without duplicates. */
export function distinctNames(names: readonly NamedPortRef[]): readonly NamedPortRef[] {
  const known = new Map<string, NamedPortRef>();
  for (const { protocol, name } of names) known.set(`${name}/${protocol}`, { protocol, name });
  return [...known.keys()].sort().map((key) => known.get(key)!);
}
