/**
 * A rule of the product's vocabulary -> what it asks of a packet and does to it, in the same terms as `rule-text.ts` reads text. Written
 * from what each match and target is documented to mean, so that the two can be held to each other.
 */
import type { Family, Protocol } from '../../src/core/vocabulary.ts';
import type { MarkShown } from '../../src/dataplane/iptables/rules/parse-rule.ts';
import type { Match, Rule, Target } from '../../src/dataplane/iptables/rules/rule.ts';
import { NEIGHBOUR_DISCOVERY, SAME_ADDRESS } from '../../src/dataplane/iptables/rules/write-text.ts';
import { WIDTH, numberOf, prefixMask } from './address-number.ts';
import { type ParsedMatch, type ParsedRule, type ParsedTarget, readProgram } from './rule-text.ts';

const PROTOCOL: Readonly<Record<Protocol, number>> = { TCP: 6, UDP: 17, SCTP: 132 };
const DHCP = {
  4: { request: ['0.0.0.0/32', '255.255.255.255/32', 68, 67], answer: [undefined, '255.255.255.255/32', 67, 68] },
  6: { request: ['fe80::/10', 'ff02::1:2/128', 546, 547], answer: ['fe80::/10', 'fe80::/10', 547, 546] },
} as const;

/** `mark`: which bits of a connection mark the rule means, if any. */
export function meaningOf({ matches, target }: Rule, family: Family, mark: MarkShown | undefined): ParsedRule {
  return {
    matches: matches.flatMap((match) => matchMeaning(match, family, mark)),
    target: targetMeaning(target, mark),
  };
}

function matchMeaning(match: Match, family: Family, mark: MarkShown | undefined): ParsedMatch[] {
  switch (match.kind) {
    case 'source':
      return [prefix('source', `${match.address}/${WIDTH[family]}`)];
    case 'destination':
      return [prefix('destination', `${match.address}/${WIDTH[family]}`)];
    case 'source-block':
      return [prefix('source', match.cidr)];
    case 'destination-block':
      return [prefix('destination', match.cidr)];
    case 'source-bucket':
      return [{ kind: 'address', side: 'source', value: BigInt(match.bits), mask: BigInt(match.mask) }];
    case 'destination-bucket':
      return [{ kind: 'address', side: 'destination', value: BigInt(match.bits), mask: BigInt(match.mask) }];
    case 'conntrack': {
      const state: ParsedMatch = { kind: 'state', states: match.states, invert: false };
      return match.direction ? [state, { kind: 'conntrack-direction', direction: match.direction }] : [state];
    }
    case 'conntrack-not':
      return [{ kind: 'state', states: match.states, invert: true }];
    case 'conntrack-confirmed':
      return [{ kind: 'confirmed' }];
    case 'stale-mark':
      return [{ kind: 'connmark', ...judged(mark), invert: true }];
    case 'current-mark':
      return [{ kind: 'connmark', ...judged(mark), invert: false }];
    case 'denied-flag':
      return [{ kind: 'connmark', ...denied(mark), invert: !match.set }];
    case 'same-address':
      return [{ kind: 'bpf', program: readProgram(SAME_ADDRESS[family]) }];
    case 'neighbour-discovery':
      return [
        { kind: 'protocol', protocol: 58 },
        { kind: 'bpf', program: readProgram(NEIGHBOUR_DISCOVERY) },
      ];
    case 'icmp':
      return [{ kind: 'protocol', protocol: family === 4 ? 1 : 58 }];
    case 'ports':
    case 'source-ports': {
      const side = match.kind === 'ports' ? 'destination' : 'source';
      const protocol: ParsedMatch = { kind: 'protocol', protocol: PROTOCOL[match.protocol] };
      return match.ranges.length === 0 ? [protocol] : [protocol, { kind: 'ports', side, spans: match.ranges }];
    }
    case 'set':
    case 'not-in-set': {
      const dimensions = match.dimensions.split(',') as ('src' | 'dst')[];
      return [{ kind: 'set', set: match.set, dimensions, invert: match.kind === 'not-in-set' }];
    }
    case 'in-interface-prefix':
      return [{ kind: 'interface', side: 'in', name: match.prefix, isPrefix: true, invert: false }];
    case 'out-interface-prefix':
      return [{ kind: 'interface', side: 'out', name: match.prefix, isPrefix: true, invert: false }];
    case 'not-in-interface-prefix':
      return [{ kind: 'interface', side: 'in', name: match.prefix, isPrefix: true, invert: true }];
    case 'not-out-interface-prefix':
      return [{ kind: 'interface', side: 'out', name: match.prefix, isPrefix: true, invert: true }];
    case 'in-interface':
      return [{ kind: 'interface', side: 'in', name: match.name, isPrefix: false, invert: false }];
    case 'out-interface':
      return [{ kind: 'interface', side: 'out', name: match.name, isPrefix: false, invert: false }];
    case 'in-port':
      return [{ kind: 'port', side: 'in', name: match.name, isPrefix: match.isPrefix ?? false }];
    case 'out-port':
      return [{ kind: 'port', side: 'out', name: match.name, isPrefix: match.isPrefix ?? false }];
    case 'dhcp': {
      const [source, destination, from, to] = DHCP[family][match.message];
      return [
        ...(source ? [prefix('source', source)] : []),
        prefix('destination', destination),
        { kind: 'protocol', protocol: 17 },
        { kind: 'ports', side: 'source', spans: [{ first: from, last: from }] },
        { kind: 'ports', side: 'destination', spans: [{ first: to, last: to }] },
      ];
    }
    case 'source-is-local':
      return [{ kind: 'is-local', side: 'source' }];
    case 'destination-is-local':
      return [{ kind: 'is-local', side: 'destination' }];
    case 'limit':
      return [{ kind: 'limit', rate: `${match.perSecond}/sec`, burst: match.burst }];
    case 'comment':
      return [{ kind: 'comment', text: match.text }];
  }
}

function targetMeaning(target: Target, mark: MarkShown | undefined): ParsedTarget {
  switch (target.kind) {
    case 'return':
      return { kind: 'RETURN' };
    case 'drop':
      return { kind: 'DROP' };
    case 'jump':
    case 'goto':
      return { kind: target.kind, chain: target.chain };
    case 'stamp-epoch':
      return { kind: 'connmark', ...judged(mark) };
    case 'set-denied-flag':
      return { kind: 'connmark', ...denied(mark) };
    case 'log':
      return { kind: 'nflog', group: target.group, prefix: target.prefix };
    case 'none':
      return { kind: 'none' };
  }
}

function prefix(side: 'source' | 'destination', cidr: string): ParsedMatch {
  const [address = '', length] = cidr.split('/');
  const { family, value } = numberOf(address);
  return { kind: 'address', side, value, mask: prefixMask(family, Number(length)) };
}

/** The denied flag is the lowest bit of the mask. */
function denied(mark: MarkShown | undefined): { value: number; mask: number } {
  if (!mark) throw new Error('the rule means a mark, and it is not said which');
  const flag = (mark.mask & -mark.mask) >>> 0;
  return { value: flag, mask: flag };
}

/** The epoch in the bits above it, and the denied flag clear. */
function judged(mark: MarkShown | undefined): { value: number; mask: number } {
  const flag = denied(mark).value;
  if (mark?.epoch === undefined) throw new Error('the rule means an epoch, and it is not said which');
  return { value: (mark.epoch * flag * 2) >>> 0, mask: mark.mask >>> 0 };
}
