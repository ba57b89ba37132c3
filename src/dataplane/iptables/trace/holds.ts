/** Whether a match of our vocabulary holds for the first packet of a flow. */
import type { FirstPacket, PacketEnd } from '../../first-packet.ts';
import type { MarkShown } from '../rules/parse-rule.ts';
import type { Match, SetDimensions } from '../rules/rule.ts';

import { cidrContains, parseCidr } from '../../../net/cidr.ts';
import { canonicalAddress } from '../../../net/ip.ts';
import { SOURCE_PORT } from '../../first-packet.ts';
import { deniedBit, markOf } from '../../mark-bits.ts';

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
