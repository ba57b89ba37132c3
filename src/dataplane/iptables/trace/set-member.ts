/** Whether a set, as `ipset save` printed it, has a packet's address, or its address and port. */
import type { Address } from '../../../net/ip.ts';
import type { SetDimensions } from '../rules/rule.ts';
import type { ObservedSet } from '../plan/plan.ts';
import type { FirstPacket } from '../../first-packet.ts';

import { PROTOCOL_NUMBER } from '../../../core/vocabulary.ts';
import { formatNetMember, makeCidr } from '../../../net/cidr.ts';
import { ADDRESS_BITS } from '../../../net/ip.ts';

/** The dimensions that say a port as well. */
const PORT_OF_DESTINATION: ReadonlySet<SetDimensions> = new Set(['src,dst', 'dst,dst']);

/** Throws on sets of a kind that we do not make. */
export function isMember(set: ObservedSet, dimensions: SetDimensions, packet: FirstPacket): boolean {
  // ip_set_test: a set of the other family never matches.
  if (set.family !== packet.family) return false;
  const { text, address } = dimensions.startsWith('src') ? packet.source : packet.destination;
  switch (set.type) {
    case 'hash:ip':
      return set.members.get(text) ?? false;
    case 'hash:net':
      return longestPrefix(set, address, '');
    case 'hash:ip,port':
    case 'hash:net,port': {
      const port = portText(dimensions, packet);
      if (port === undefined) return false;
      return set.type === 'hash:ip,port' ? (set.members.get(text + port) ?? false) : longestPrefix(set, address, port);
    }
    default:
      throw new Error(`set ${set.name} is of kind ${set.type}, which is none of ours`);
  }
}

/** Undefined: the rule says no port, or that of the source, which may be any. */
function portText(dimensions: SetDimensions, { protocol, port }: FirstPacket): string | undefined {
  return PORT_OF_DESTINATION.has(dimensions) ? `,${PROTOCOL_NUMBER[protocol]}:${port}` : undefined;
}

/** The longest prefix that holds the address decides; `nomatch` says no. */
function longestPrefix({ members }: ObservedSet, { family, words }: Address, port: string): boolean {
  for (let length: number = ADDRESS_BITS[family]; length >= 0; length--) {
    const member = `${formatNetMember(makeCidr(family, words, length))}${port}`;
    const found = members.get(member);
    if (found !== undefined) return found;
  }
  return false;
}
