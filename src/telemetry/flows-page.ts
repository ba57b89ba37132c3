/**
 * /flows: connections that are alive on this node, of its pods. For programs; a change that is no mere addition counts `version` up. A connection
 * between two nodes is told by one: by that of the pod which began it, else by that of the pod which answers.
 */
import type { Sliced } from '../core/sliced.ts';
import type { ConntrackListing } from '../host/live-flows.ts';
import type { Pod } from '../policy/model.ts';

import { readConntrackLine } from '../host/conntrack-line.ts';
import { addressOwners, claimantsOf } from '../policy/address-owners.ts';

export const FLOWS_VERSION = 1;
/** Different ones; those with most connections. */
const MAX_FLOWS = 5_000;
/** Lines between two turns of others: some 0.5 ms. */
const LINES_A_TURN = 100;

export interface FlowsPage {
  readonly version: typeof FLOWS_VERSION;
  readonly node: string;
  /** Of pods of this node that it tells, in `flows` or not. */
  readonly connections: number;
  readonly flows: readonly LiveFlow[];
  /** Connections that are not in `flows`: too many different ones. */
  readonly leftOut: number;
  /** The kernel's table was longer than what was read of it. */
  readonly truncated: boolean;
}

/** As policies see it: behind a Service the destination is its backend, at its own port. */
export interface LiveFlow {
  readonly source: string;
  readonly destination: string;
  /** IANA protocol number. */
  readonly protocol: number;
  readonly port: number;
  /** Connections. */
  readonly count: number;
}

export interface FlowsFacts {
  readonly nodeName: string;
  /** Of the whole cluster. */
  readonly pods: Iterable<Pod>;
}

export function* flowsPage(listings: readonly ConntrackListing[], { nodeName, pods }: FlowsFacts): Sliced<FlowsPage> {
  const owners = addressOwners(pods);
  const isLocal = (address: string): boolean =>
    claimantsOf(owners.get(address)).some((pod) => pod.nodeName === nodeName);
  const found = new Map<string, { flow: Omit<LiveFlow, 'count'>; count: number }>();
  let connections = 0;
  for (const [index, line] of listings.flatMap(({ lines }) => lines).entries()) {
    if (index % LINES_A_TURN === 0) yield;
    const listed = readConntrackLine(line);
    if (!listed || listed.isUnanswered) continue;
    const { source, destination, protocol, port } = listed;
    if (!isLocal(source) && (owners.has(source) || !isLocal(destination))) continue;
    connections++;
    const key = `${source} ${destination} ${protocol} ${port}`;
    const known = found.get(key);
    if (known) known.count++;
    else found.set(key, { flow: { source, destination, protocol, port }, count: 1 });
  }
  const flows = [...found.values()]
    .sort((a, b) => b.count - a.count)
    .slice(0, MAX_FLOWS)
    .map(({ flow, count }) => ({ ...flow, count }));
  return {
    version: FLOWS_VERSION,
    node: nodeName,
    connections,
    flows,
    leftOut: connections - flows.reduce((sum, { count }) => sum + count, 0),
    truncated: listings.some(({ isCut }) => isCut),
  };
}
