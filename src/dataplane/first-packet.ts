/** The first packet of a flow as a node meets it. */
import type { Family, Protocol } from '../core/vocabulary.ts';
import type { PodInterface } from '../host/pod-interfaces.ts';
import type { TracedFlow, TracePlace } from './dataplane.ts';

import { type Address, canonicalAddress, parseAddress } from '../net/ip.ts';

export interface PacketEnd {
  /** Canonical. */
  readonly text: string;
  readonly address: Address;
  /** It is one of this host. */
  readonly isLocal: boolean;
  /** By which it comes or leaves, where that is known: of a pod of this node. */
  readonly device?: string;
  /** Of a bridge, likewise. */
  readonly bridgePort?: string;
}

export interface FirstPacket {
  readonly family: Family;
  /** Which of netfilter's hooks it meets. */
  readonly hook: 'FORWARD' | 'INPUT';
  readonly protocol: Protocol;
  readonly port: number;
  readonly source: PacketEnd;
  readonly destination: PacketEnd;
}

/** Undefined: the node sends it itself, and its packets meet no rule of ours. Throws on addresses that are none, or of two families. */
export function firstPacket(flow: TracedFlow, place: TracePlace): FirstPacket | undefined {
  const source = endAt(flow.source, place);
  const destination = endAt(flow.destination, place);
  const { family } = source.address;
  if (destination.address.family !== family) throw new Error('the addresses are of two families');
  if (source.isLocal) return undefined;
  const hook = destination.isLocal ? 'INPUT' : 'FORWARD';
  const isBridged = source.device !== undefined && source.device === destination.device;
  // What is routed to a bridge does not know its port yet.
  const { bridgePort: _port, ...routed } = destination;
  const { protocol, port } = flow;
  return { family, hook, protocol, port, source, destination: isBridged ? destination : routed };
}

function endAt(given: string, place: TracePlace): PacketEnd {
  const text = canonicalAddress(given);
  const address = text === undefined ? undefined : parseAddress(text);
  if (text === undefined || !address) throw new Error(`${JSON.stringify(given)} is not an address`);
  const isLocal = place.nodeAddresses.includes(text);
  const pod = place.localAddresses.get(text);
  const at = pod === undefined ? undefined : place.interfaces.pods.find((each) => each.pod === pod);
  return { text, address, isLocal, ...(at ? attached(at, place) : {}) };
}

function attached({ name, via }: PodInterface, { interfaces }: TracePlace): Partial<PacketEnd> {
  if (via !== 'bridge') return { device: name };
  const [bridge] = interfaces.bridges;
  return { bridgePort: name, ...(bridge ? { device: bridge.name } : {}) };
}

/** Any that no rule means: a client's own. */
export const SOURCE_PORT = 49_152;
