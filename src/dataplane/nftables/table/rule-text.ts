/**
 * Rules -> text, exactly as `nft -p -s list table` (1.0.1 and newer) prints them, so reading back is a comparison of text. The only place
 * where such text is made.
 */
import type { Family } from '../../../core/vocabulary.ts';
import type { PortRange } from '../../../net/port-range.ts';
import type { ConntrackState, End, MapKey, Match, Rule, Target } from './rule.ts';

import { PROTOCOL_NUMBER } from '../../../core/vocabulary.ts';
import { localName } from './families.ts';
import { TAGS } from './tags.ts';

/** Order in which `nft list` prints connection states. */
const STATE_ORDER: readonly ConntrackState[] = ['invalid', 'established', 'related', 'new', 'untracked'];

/** NFT_USERDATA_MAXLEN (256) leaves 128 bytes to a comment, the NUL included. */
export const MAX_COMMENT = 127;

/** RFC 2131, RFC 8415: by broadcast, where the pod has no address yet; by link-local addresses and the servers' group. */
const DHCP: Readonly<Record<Family, Readonly<Record<'request' | 'answer', string>>>> = {
  4: {
    request: 'ip saddr 0.0.0.0 ip daddr 255.255.255.255 udp sport 68 udp dport 67',
    answer: 'ip daddr 255.255.255.255 udp sport 67 udp dport 68',
  },
  6: {
    request: 'ip6 saddr fe80::/10 ip6 daddr ff02::1:2 udp sport 546 udp dport 547',
    answer: 'ip6 saddr fe80::/10 ip6 daddr fe80::/10 udp sport 547 udp dport 546',
  },
};

/** RFC 4861: a router decrements the hop limit, so what was routed has 254 at most. */
const NEIGHBOUR_DISCOVERY =
  'ip6 nexthdr 58 ip6 hoplimit 255 ' +
  'icmpv6 type { nd-router-solicit, nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert, nd-redirect }';
/** RFC 2710, RFC 3810: no router passes on what comes from a link-local address. */
const LISTENER_DISCOVERY =
  'ip6 hoplimit 1 ip6 saddr { ::, fe80::/10 } ip6 daddr ff00::/8 ' +
  'icmpv6 type { mld-listener-query, mld-listener-report, mld-listener-done, mld2-listener-report }';

/** Without its counter's values. */
export function ruleText({ matches, target, counts, comment }: Rule): string {
  const words = [...matches.map(matchText), ...(counts ? ['counter'] : []), targetText(target)];
  if (comment !== undefined) words.push(`comment "${safeText(comment, MAX_COMMENT)}"`);
  return words.join(' ');
}

function matchText(match: Match): string {
  switch (match.kind) {
    case 'state':
      return `ct state ${match.not ? '! ' : ''}${STATE_ORDER.filter((state) => match.states.includes(state)).join(',')}`;
    case 'reply':
      return 'ct direction reply';
    case 'confirmed':
      return 'ct status confirmed';
    case 'family':
      return `meta nfproto ipv${match.family}`;
    case 'stale-mark':
      return staleText(match.mask, match.bits);
    case 'flag':
      return `ct mark & ${markText(match.bit)} == ${markText(match.isSet ? match.bit : 0)}`;
    case 'block':
      return `${addressText(match.family, match.end)} ${withoutHostLength(match.cidr, match.family)}`;
    case 'in-set':
      return `${addressText(match.family, match.end)} ${match.not ? '!= ' : ''}@${localName(match.set)}`;
    case 'in-port-set':
      return `${addressText(match.family, match.address)} . meta l4proto . th ${portField(match.port)} @${match.set}`;
    case 'pair-in-set':
      return `${addressText(match.family, 'source')} . ${addressText(match.family, 'destination')} @${match.set}`;
    case 'interface-in-set':
      return `${interfaceText(match.end)} . ${addressText(match.family, match.end)} @${localName(match.set)}`;
    case 'ports':
      if (match.ranges.length === 0) return `meta l4proto ${PROTOCOL_NUMBER[match.protocol]}`;
      return `${match.protocol.toLowerCase()} ${portField(match.end)} ${anyOf(match.ranges.map(rangeText))}`;
    case 'icmp':
      return 'meta l4proto { 1, 58 }';
    case 'neighbour-discovery':
      return NEIGHBOUR_DISCOVERY;
    case 'listener-discovery':
      return LISTENER_DISCOVERY;
    case 'dhcp':
      return DHCP[match.family][match.message];
    case 'interface':
      return `${interfaceText(match.end)} "${match.name}${match.isPrefix ? '*' : ''}"`;
    case 'frame':
      return `meta protocol ip${match.family === 4 ? '' : '6'}`;
    case 'tagged':
      return `meta priority ${match.not ? '!= ' : ''}${match.tag ?? TAGS}`;
    case 'on-link':
      return 'fib daddr . iif oif exists';
    case 'local':
      return `fib ${match.end === 'source' ? 'saddr' : 'daddr'} type local`;
    case 'limit':
      return `limit rate ${match.perSecond}/second burst ${match.burst} packets`;
  }
}

/** With all other bits set, because nft prints a comparison under a mask of leading bits as one with a prefix. */
function staleText(mask: number, bits: number): string {
  return `ct mark | ${markText(~mask)} != ${markText(~mask | bits)}`;
}

function targetText(target: Target): string {
  switch (target.kind) {
    case 'return':
    case 'drop':
      return target.kind;
    case 'jump':
    case 'goto':
      return `${target.kind} ${target.chain}`;
    case 'verdict-map':
      return `${keyText(target.key)} vmap @${target.map}`;
    case 'set-mark':
      return `ct mark set ${markSetText(target.mask, target.bits)}`;
    case 'set-tag':
      return `meta priority set ${target.tag ?? 'none'}`;
    case 'tag-by-interface':
      return `meta priority set ${interfaceText(target.end)} map @${localName(target.map)}`;
    case 'log':
      return `log prefix "${safeText(target.prefix, MAX_COMMENT)}" group ${target.group}`;
  }
}

/** As the kernel keeps it: bits that become 1 need not be cleared first, and nothing need be where that is all. */
function markSetText(mask: number, bits: number): string {
  const kept = (~mask | bits) >>> 0;
  const cleared = kept === 0xffffffff ? 'ct mark' : `ct mark & ${markText(kept)}`;
  return bits === 0 ? cleared : `${cleared} | ${markText(bits)}`;
}

function keyText(key: MapKey): string {
  switch (key.kind) {
    case 'address':
      return addressText(key.family, key.end);
    case 'interface':
      return interfaceText(key.end);
    case 'tag':
      return 'meta priority';
  }
}

function addressText(family: Family, end: End): string {
  return `${family === 4 ? 'ip' : 'ip6'} ${end === 'source' ? 'saddr' : 'daddr'}`;
}

function portField(end: End): string {
  return end === 'source' ? 'sport' : 'dport';
}

function interfaceText(end: End): string {
  return end === 'source' ? 'iifname' : 'oifname';
}

function rangeText({ first, last }: PortRange): string {
  return first === last ? String(first) : `${first}-${last}`;
}

function anyOf(texts: readonly string[]): string {
  return texts.length === 1 ? texts[0]! : `{ ${texts.join(', ')} }`;
}

function withoutHostLength(cidr: string, family: Family): string {
  const host = family === 4 ? '/32' : '/128';
  return cidr.endsWith(host) ? cidr.slice(0, -host.length) : cidr;
}

export function markText(value: number): string {
  return `0x${(value >>> 0).toString(16).padStart(8, '0')}`;
}

/** Text that cannot end a quoted word or a line, whatever an object was called: printable ASCII without `"` and `\`, anything else as `?`. */
export function safeText(text: string, limit: number): string {
  const safe = text.replace(/[^ !#-[\]-~]/g, '?');
  return safe.length <= limit ? safe : `${safe.slice(0, limit - 3)}...`;
}
