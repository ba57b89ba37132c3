/** The first packet of a flow as a node meets it, and whether a match of our vocabulary holds for it. */
import type { Family, Protocol } from '../../../core/vocabulary.ts';
import type { PodInterface } from '../../../host/pod-interfaces.ts';
import type { TracedFlow, TracePlace } from '../../dataplane.ts';
import type { MarkShown } from '../rules/parse-rule.ts';
import type { Match, SetDimensions } from '../rules/rule.ts';
import type { Hook } from '../rules/ruleset.ts';

import { cidrContains, parseCidr } from '../../../net/cidr.ts';
import { type Address, canonicalAddress, parseAddress } from '../../../net/ip.ts';
import { deniedBit, markOf } from '../../mark-bits.ts';

interface PacketEnd {
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
  readonly hook: Hook;
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
const SOURCE_PORT = 49_152;

/** What a packet carries from rule to rule. */
export interface Carried {
  /** Of its connection. */
  mark: number;
}

/** Whether the packet is in the set, by these of its sides. */
export type InSet = (set: string, dimensions: SetDimensions) => boolean;

export function holds(
  match: Match,
  packet: FirstPacket,
  { mark }: Carried,
  shown: MarkShown | undefined,
  inSet: InSet,
): boolean {
  const { source, destination } = packet;
  switch (match.kind) {
    case 'source':
      return source.text === canonicalAddress(match.address);
    case 'destination':
      return destination.text === canonicalAddress(match.address);
    case 'source-block':
      return isIn(source, match.cidr);
    case 'destination-block':
      return isIn(destination, match.cidr);
    case 'source-bucket':
      return hasBits(source, match);
    case 'destination-bucket':
      return hasBits(destination, match);
    case 'conntrack':
      return match.states.includes('NEW') && match.direction === undefined;
    case 'conntrack-not':
      return !match.states.includes('NEW');
    // No packet of the connection went through before.
    case 'conntrack-confirmed':
      return false;
    case 'stale-mark':
      return !isJudged(mark, shown);
    case 'current-mark':
      return isJudged(mark, shown);
    case 'denied-flag':
      return ((mark & deniedBit(bits(shown))) !== 0) === match.set;
    case 'same-address':
      return source.text === destination.text;
    // Flows have ports.
    case 'icmp':
    case 'neighbour-discovery':
      return false;
    // Neither end of such a packet is an address that somebody has.
    case 'dhcp':
      return false;
    case 'ports':
      return match.protocol === packet.protocol && isAmong(match.ranges, packet.port);
    case 'source-ports':
      return match.protocol === packet.protocol && isAmong(match.ranges, SOURCE_PORT);
    case 'set':
      return inSet(match.set, match.dimensions);
    case 'not-in-set':
      return !inSet(match.set, match.dimensions);
    case 'in-interface-prefix':
      return source.device?.startsWith(match.prefix) ?? false;
    case 'out-interface-prefix':
      return destination.device?.startsWith(match.prefix) ?? false;
    case 'not-in-interface-prefix':
      return !(source.device?.startsWith(match.prefix) ?? false);
    case 'not-out-interface-prefix':
      return !(destination.device?.startsWith(match.prefix) ?? false);
    case 'in-interface':
      return source.device === match.name;
    case 'out-interface':
      return destination.device === match.name;
    case 'in-port':
      return isNamed(source.bridgePort, match);
    case 'out-port':
      return isNamed(destination.bridgePort, match);
    case 'source-is-local':
      return source.isLocal;
    case 'destination-is-local':
      return destination.isLocal;
    case 'limit':
    case 'comment':
      return true;
  }
}

function isIn({ address }: PacketEnd, cidr: string): boolean {
  const block = parseCidr(cidr);
  return block !== undefined && cidrContains(block, address);
}

function hasBits({ address }: PacketEnd, { bits: wanted, mask }: { readonly bits: number; readonly mask: number }) {
  return (address.words.at(-1)! & mask) === wanted;
}

function isAmong(ranges: Extract<Match, { kind: 'ports' }>['ranges'], port: number): boolean {
  return ranges.length === 0 || ranges.some(({ first, last }) => first <= port && port <= last);
}

function isNamed(port: string | undefined, { name, isPrefix = false }: { name: string; isPrefix?: boolean }): boolean {
  return port !== undefined && (isPrefix ? port.startsWith(name) : port === name);
}

/** Its epoch bits equal those that the rule shows, and the denied flag is clear. */
function isJudged(mark: number, shown: MarkShown | undefined): boolean {
  const { mask } = bits(shown);
  return (mark & mask) >>> 0 === markOf(shown?.epoch ?? 0, { mask });
}

function bits(shown: MarkShown | undefined): MarkShown {
  if (!shown) throw new Error('a rule means a connection mark, and does not show which');
  return shown;
}
