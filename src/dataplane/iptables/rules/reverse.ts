/** Rules of one direction of a flow, asked of the packets that come back. */
import type { Match, Rule, SetDimensions } from './rule.ts';

/** The rule for replies to what `original` lets in or out. */
export function reverse({ matches, ...rest }: Rule): Rule {
  return { matches: matches.map(reverseMatch), ...rest };
}

/** What is asked of a packet in the original direction, asked of its reply. Throws for what tells nothing about the reply. */
export function reverseMatch(match: Match): Match {
  switch (match.kind) {
    case 'ports':
      // The whole protocol is the same both ways.
      if (match.ranges.length === 0) return match;
      return { ...match, kind: 'source-ports' };
    case 'source-ports':
      return { ...match, kind: 'ports' };
    case 'set':
    case 'not-in-set':
      return { ...match, dimensions: REVERSED[match.dimensions] };
    case 'source':
      return { ...match, kind: 'destination' };
    case 'destination':
      return { ...match, kind: 'source' };
    case 'source-block':
      return { ...match, kind: 'destination-block' };
    case 'destination-block':
      return { ...match, kind: 'source-block' };
    case 'source-bucket':
      return { ...match, kind: 'destination-bucket' };
    case 'destination-bucket':
      return { ...match, kind: 'source-bucket' };
    case 'source-is-local':
      return { kind: 'destination-is-local' };
    case 'destination-is-local':
      return { kind: 'source-is-local' };
    case 'in-interface-prefix':
      return { ...match, kind: 'out-interface-prefix' };
    case 'out-interface-prefix':
      return { ...match, kind: 'in-interface-prefix' };
    case 'not-in-interface-prefix':
      return { ...match, kind: 'not-out-interface-prefix' };
    case 'not-out-interface-prefix':
      return { ...match, kind: 'not-in-interface-prefix' };
    case 'in-interface':
      return { ...match, kind: 'out-interface' };
    case 'out-interface':
      return { ...match, kind: 'in-interface' };
    case 'in-port':
      return { ...match, kind: 'out-port' };
    case 'out-port':
      return { ...match, kind: 'in-port' };
    case 'same-address':
    case 'icmp':
    case 'limit':
    case 'comment':
      return match;
    case 'conntrack':
    case 'conntrack-not':
    case 'conntrack-confirmed':
    case 'stale-mark':
    case 'current-mark':
    case 'denied-flag':
    case 'neighbour-discovery':
    case 'dhcp':
      throw new Error(`a reply is not told by ${match.kind}`);
  }
}

const REVERSED = {
  src: 'dst',
  dst: 'src',
  'src,src': 'dst,dst',
  'src,dst': 'dst,src',
  'dst,src': 'src,dst',
  'dst,dst': 'src,src',
} as const satisfies Record<SetDimensions, SetDimensions>;
