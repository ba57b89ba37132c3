/** Rules of one direction of a flow, asked of the packets that come back. */
import type { End, Match, Rule } from '../table/rule.ts';

/** The rule for replies to what `original` lets in or out. */
export function reverse({ matches, ...rest }: Rule): Rule {
  return { ...rest, matches: matches.map(reverseMatch) };
}

/** What is asked of a packet in the original direction, asked of its reply. Throws for what tells nothing about the reply. */
function reverseMatch(match: Match): Match {
  switch (match.kind) {
    case 'block':
    case 'in-set':
    case 'ports':
    case 'interface':
    case 'interface-in-set':
    case 'local':
      return { ...match, end: otherEnd(match.end) };
    case 'in-port-set':
      return { ...match, address: otherEnd(match.address), port: otherEnd(match.port) };
    case 'family':
    case 'pair-in-set':
    case 'icmp':
    case 'limit':
      return match;
    case 'state':
    case 'reply':
    case 'confirmed':
    case 'stale-mark':
    case 'flag':
    case 'neighbour-discovery':
    case 'listener-discovery':
    case 'dhcp':
    case 'frame':
    case 'tagged':
    case 'on-link':
      throw new Error(`a reply is not told by ${match.kind}`);
  }
}

export function otherEnd(end: End): End {
  return end === 'source' ? 'destination' : 'source';
}
