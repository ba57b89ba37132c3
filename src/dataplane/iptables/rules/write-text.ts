/**
 * Values -> the lines of iptables-restore and ipset-restore; the only place where such text is made.
 * Rules are written exactly as `iptables-save` prints them (iptables 1.8, both variants), so reading back is a comparison of text.
 */
import type { Family } from '../../../core/vocabulary.ts';
import type { ConntrackState, IpSet, Match, Rule, Target } from './rule.ts';

import { EVERY_PACKET, type MarkBits, deniedBit, markOf } from '../../mark-bits.ts';
import { neighbourDiscoveryProgram } from './neighbour-discovery.ts';
import { lowBitsText } from './low-bits.ts';

/** What rule text depends on besides the rule. */
export interface TextContext {
  readonly family: Family;
  readonly marks?: MarkBits;
  /** Current epoch (epoch), 1..epochCount(marks); or EVERY_PACKET. */
  readonly epoch: number;
}

/** Order in which `iptables-save` prints connection states. */
const STATE_ORDER: readonly ConntrackState[] = ['INVALID', 'NEW', 'RELATED', 'ESTABLISHED'];
/** Of packets that belong to a flow conntrack knows. */
const LIVE_STATES: readonly ConntrackState[] = ['RELATED', 'ESTABLISHED'];
/** nfnetlink_log NF_LOG_PREFIXLEN (128) less room; iptables refuses prefixes over 63 characters. */
export const MAX_LOG_PREFIX = 63;
/** xt_comment XT_MAX_COMMENT_LEN (256) less the NUL. */
export const MAX_COMMENT = 255;

/** xt_limit XT_LIMIT_SCALE: the highest rate per second. */
const LIMIT_SCALE = 10_000;
/** xt_limit XT_LIMIT_BURST, which `iptables-save` leaves out. */
export const DEFAULT_LIMIT_BURST = 5;

/** IPv4: load source, keep it, load destination, compare; answer yes or no. Offsets count from the IP header (xt_bpf). */
const SAME_ADDRESS_V4 = '6,32 0 0 12,7 0 0 0,32 0 0 16,29 0 1 0,6 0 0 65535,6 0 0 0';
/** IPv6: the same, word by word; any difference jumps to the last instruction, which answers no. */
const SAME_ADDRESS_V6 =
  '18,32 0 0 8,7 0 0 0,32 0 0 24,29 0 13 0,32 0 0 12,7 0 0 0,32 0 0 28,29 0 9 0,' +
  '32 0 0 16,7 0 0 0,32 0 0 32,29 0 5 0,32 0 0 20,7 0 0 0,32 0 0 36,29 0 1 0,6 0 0 65535,6 0 0 0';

export const SAME_ADDRESS: Readonly<Record<Family, string>> = { 4: SAME_ADDRESS_V4, 6: SAME_ADDRESS_V6 };

export const NEIGHBOUR_DISCOVERY = neighbourDiscoveryProgram();

/** RFC 2131, RFC 8415: by broadcast, where the pod has no address yet; by link-local addresses and the servers' group. */
export const DHCP: Readonly<Record<Family, Readonly<Record<'request' | 'answer', string>>>> = {
  4: {
    request: '-s 0.0.0.0/32 -d 255.255.255.255/32 -p udp -m udp --sport 68 --dport 67',
    answer: '-d 255.255.255.255/32 -p udp -m udp --sport 67 --dport 68',
  },
  6: {
    request: '-s fe80::/10 -d ff02::1:2/128 -p udp -m udp --sport 546 --dport 547',
    answer: '-s fe80::/10 -d fe80::/10 -p udp -m udp --sport 547 --dport 546',
  },
};

/** A rule without `-A CHAIN`. */
export function ruleText(rule: Rule, context: TextContext): string {
  const words = [...rule.matches.flatMap((match) => matchWords(match, context)), ...targetWords(rule.target, context)];
  return words.join(' ');
}

function matchWords(match: Match, context: TextContext): string[] {
  const { family } = context;
  switch (match.kind) {
    case 'source':
      return ['-s', hostCidr(match.address, family)];
    case 'destination':
      return ['-d', hostCidr(match.address, family)];
    case 'source-block':
      return ['-s', match.cidr];
    case 'destination-block':
      return ['-d', match.cidr];
    case 'source-bucket':
      return ['-s', bucketMask(match, family)];
    case 'destination-bucket':
      return ['-d', bucketMask(match, family)];
    case 'conntrack':
      return [
        '-m conntrack --ctstate',
        statesText(match.states),
        ...(match.direction ? ['--ctdir', match.direction] : []),
      ];
    case 'conntrack-not':
      return ['-m conntrack ! --ctstate', statesText(match.states)];
    case 'conntrack-confirmed':
      return ['-m conntrack --ctstatus CONFIRMED'];
    case 'stale-mark':
      if (context.epoch === EVERY_PACKET) return ['-m conntrack --ctstate', statesText(LIVE_STATES)];
      return ['-m connmark ! --mark', `${hex(epochBits(context))}/${hex(marksOf(context).mask)}`];
    case 'current-mark':
      return ['-m connmark --mark', `${hex(epochBits(context))}/${hex(marksOf(context).mask)}`];
    case 'denied-flag': {
      const flag = hex(deniedBit(marksOf(context)));
      return ['-m connmark', ...(match.set ? [] : ['!']), '--mark', `${flag}/${flag}`];
    }
    case 'same-address':
      return ['-m bpf --bytecode', quote(SAME_ADDRESS[family])];
    case 'icmp':
      return ['-p', family === 4 ? 'icmp' : 'ipv6-icmp'];
    case 'neighbour-discovery':
      return ['-p ipv6-icmp -m bpf --bytecode', quote(NEIGHBOUR_DISCOVERY)];
    case 'ports':
      return portWords(match, 'd');
    case 'source-ports':
      return portWords(match, 's');
    case 'set':
      return ['-m set --match-set', match.set, match.dimensions];
    case 'not-in-set':
      return ['-m set ! --match-set', match.set, match.dimensions];
    case 'in-interface-prefix':
      return ['-i', `${match.prefix}+`];
    case 'out-interface-prefix':
      return ['-o', `${match.prefix}+`];
    case 'not-in-interface-prefix':
      return ['! -i', `${match.prefix}+`];
    case 'not-out-interface-prefix':
      return ['! -o', `${match.prefix}+`];
    case 'in-interface':
      return ['-i', match.name];
    case 'out-interface':
      return ['-o', match.name];
    case 'in-port':
      return ['-m physdev --physdev-in', `${match.name}${match.isPrefix ? '+' : ''}`];
    case 'out-port':
      return ['-m physdev --physdev-out', `${match.name}${match.isPrefix ? '+' : ''}`, '--physdev-is-bridged'];
    case 'dhcp':
      return DHCP[family][match.message].split(' ');
    case 'source-is-local':
      return ['-m addrtype --src-type LOCAL'];
    case 'destination-is-local':
      return ['-m addrtype --dst-type LOCAL'];
    case 'limit':
      return limitWords(match.perSecond, match.burst);
    case 'comment':
      return ['-m comment --comment', quoteIfSpaced(safeText(match.text, MAX_COMMENT))];
  }
}

function targetWords(target: Target, context: TextContext): string[] {
  switch (target.kind) {
    case 'return':
      return ['-j RETURN'];
    case 'drop':
      return ['-j DROP'];
    case 'jump':
      return ['-j', target.chain];
    case 'goto':
      return ['-g', target.chain];
    case 'stamp-epoch':
      return ['-j CONNMARK --set-xmark', `${hex(epochBits(context))}/${hex(marksOf(context).mask)}`];
    case 'set-denied-flag': {
      const flag = hex(deniedBit(marksOf(context)));
      return ['-j CONNMARK --set-xmark', `${flag}/${flag}`];
    }
    case 'log':
      return [
        '-j NFLOG --nflog-prefix',
        quoteIfSpaced(safeText(target.prefix, MAX_LOG_PREFIX)),
        ...(target.group === 0 ? [] : ['--nflog-group', String(target.group)]),
      ];
    case 'none':
      return [];
  }
}

function portWords(match: Extract<Match, { kind: 'ports' | 'source-ports' }>, side: 's' | 'd'): string[] {
  const { ranges, multiport } = match;
  const protocol = match.protocol.toLowerCase();
  if (ranges.length === 0) return ['-p', protocol];
  const list = ranges.map(({ first, last }) => (first === last ? String(first) : `${first}:${last}`)).join(',');
  return ranges.length === 1 && !multiport
    ? ['-p', protocol, '-m', protocol, `--${side}port`, list]
    : ['-p', protocol, `-m multiport --${side}ports`, list];
}

/** The kernel keeps the time between two packets in 1/10,000 s, so only rates that divide 10,000 come back as they were. */
function limitWords(perSecond: number, burst: number): string[] {
  const period = Math.max(1, Math.floor(LIMIT_SCALE / perSecond));
  const words = ['-m limit --limit', `${Math.floor(LIMIT_SCALE / period)}/sec`];
  return burst === DEFAULT_LIMIT_BURST ? words : [...words, '--limit-burst', String(burst)];
}

function hostCidr(address: string, family: Family): string {
  return `${address}/${family === 4 ? 32 : 128}`;
}

function bucketMask({ bits, mask }: { readonly bits: number; readonly mask: number }, family: Family): string {
  return [bits, mask].map((value) => lowBitsText(value, family)).join('/');
}

function statesText(states: readonly ConntrackState[]): string {
  return STATE_ORDER.filter((state) => states.includes(state)).join(',');
}

function marksOf(context: TextContext): MarkBits {
  if (!context.marks) throw new Error('a rule uses connection marks, but the layout has none');
  return context.marks;
}

function epochBits(context: TextContext): number {
  return markOf(context.epoch, marksOf(context));
}

function hex(value: number): string {
  return `0x${(value >>> 0).toString(16)}`;
}

/**
 * Text that cannot end a quoted word or a line, whatever an object was called: printable ASCII without `"`, `\`
 * and `'`, anything else as `?`; cut to `limit` characters.
 */
export function safeText(text: string, limit: number): string {
  const safe = text.replace(/[^ !#-&(-[\]-~]/g, '?');
  return safe.length <= limit ? safe : `${safe.slice(0, limit - 3)}...`;
}

function quote(text: string): string {
  return `"${text}"`;
}

/** `iptables-save` quotes a word only if it holds a blank or a character it escapes. */
function quoteIfSpaced(text: string): string {
  return /^[A-Za-z0-9_-]+$/.test(text) ? text : quote(text);
}

/** Room every set gets; a limit, not memory. ipset's own default of 65,536 is hard and would refuse the next pod. */
const MIN_MAXELEM = 1_048_576;
const MIN_HASHSIZE = 64;
const MAX_PRESIZED = 1_048_576;

/** The least `maxelem` that holds `count` entries with room to grow. */
export function maxElements(count: number): number {
  let size = MIN_MAXELEM;
  while (size < count * 2) size *= 2;
  return size;
}

function hashSize(count: number): number {
  let size = MIN_HASHSIZE;
  while (size < count && size < MAX_PRESIZED) size *= 2;
  return size;
}

export function createSetText(set: IpSet, name: string = set.name): string {
  const family = set.family === 4 ? 'inet' : 'inet6';
  const count = set.members.size;
  return `create ${name} ${set.type} family ${family} hashsize ${hashSize(count)} maxelem ${maxElements(count)}`;
}

/** With `ipset restore -exist` this also turns a `nomatch` entry into a match and back. */
export function addMemberText(set: string, member: string, match: boolean): string {
  return match ? `add ${set} ${member}` : `add ${set} ${member} nomatch`;
}

export function deleteMemberText(set: string, member: string): string {
  return `del ${set} ${member}`;
}

export function destroySetText(set: string): string {
  return `destroy ${set}`;
}

export function swapSetText(a: string, b: string): string {
  return `swap ${a} ${b}`;
}
