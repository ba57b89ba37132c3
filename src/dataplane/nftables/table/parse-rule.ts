/** Rules as nft prints them -> values: the opposite of rule-text.ts, which shares nothing with it. */
import type { Family, Protocol } from '../../../core/vocabulary.ts';
import type { ConntrackState, End, Match, Rule, Target } from './rule.ts';

const ND = 'nd-router-solicit, nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert, nd-redirect';
const MLD = 'mld-listener-query, mld-listener-report, mld-listener-done, mld2-listener-report';

type Reader = readonly [RegExp, (...groups: string[]) => Match];

const familyOf = (text: string): Family => (text === 'ip6' ? 6 : 4);
const endOf = (text: string): End => (text.startsWith('s') || text.startsWith('i') ? 'source' : 'destination');
const PROTOCOLS: Readonly<Record<string, Protocol>> = {
  6: 'TCP',
  17: 'UDP',
  132: 'SCTP',
  tcp: 'TCP',
  udp: 'UDP',
  sctp: 'SCTP',
};

/** Longer ones first. */
const MATCHES: readonly Reader[] = [
  [new RegExp(`^ip6 nexthdr 58 ip6 hoplimit 255 icmpv6 type \\{ ${ND} \\}`), () => ({ kind: 'neighbour-discovery' })],
  [
    new RegExp(`^ip6 hoplimit 1 ip6 saddr \\{ ::, fe80::/10 \\} ip6 daddr ff00::/8 icmpv6 type \\{ ${MLD} \\}`),
    () => ({ kind: 'listener-discovery' }),
  ],
  [/^ip saddr 0\.0\.0\.0 ip daddr 255\.255\.255\.255 udp sport 68 udp dport 67/, () => dhcp(4, 'request')],
  [/^ip daddr 255\.255\.255\.255 udp sport 67 udp dport 68/, () => dhcp(4, 'answer')],
  [/^ip6 saddr fe80::\/10 ip6 daddr ff02::1:2 udp sport 546 udp dport 547/, () => dhcp(6, 'request')],
  [/^ip6 saddr fe80::\/10 ip6 daddr fe80::\/10 udp sport 547 udp dport 546/, () => dhcp(6, 'answer')],
  [
    /^ct state (! )?([\w,]+)/,
    (not, states = '') => ({
      kind: 'state',
      states: states.split(',') as ConntrackState[],
      ...(not ? { not: true } : {}),
    }),
  ],
  [/^ct direction reply/, () => ({ kind: 'reply' })],
  [/^ct status confirmed/, () => ({ kind: 'confirmed' })],
  [/^meta protocol ip(6)?/, (six) => ({ kind: 'frame', family: six ? 6 : 4 })],
  [/^meta priority (!= )?8000:0-bfff:ffff/, (not) => ({ kind: 'tagged', ...(not ? { not: true } : {}) })],
  [/^meta priority ([0-9a-f]+:[0-9a-f]+)/, (tag = '') => ({ kind: 'tagged', tag })],
  [/^fib daddr \. iif oif exists/, () => ({ kind: 'on-link' })],
  [/^meta nfproto ipv([46])/, (family) => ({ kind: 'family', family: Number(family) as Family })],
  [
    /^ct mark \| (0x\w+) != (0x\w+)/,
    (others, all) => {
      const mask = ~Number(others) >>> 0;
      return { kind: 'stale-mark', mask, bits: (Number(all) & mask) >>> 0 };
    },
  ],
  [
    /^ct mark & (0x\w+) == (0x\w+)/,
    (bit = '', value) => ({ kind: 'flag', bit: Number(bit), isSet: Number(value) === Number(bit) }),
  ],
  [
    /^(ip6?) (saddr|daddr) \. meta l4proto \. th (sport|dport) @(\S+)/,
    (ip = '', address = '', port = '', set = '') => {
      return { kind: 'in-port-set', family: familyOf(ip), address: endOf(address), port: endOf(port), set };
    },
  ],
  [/^(ip6?) saddr \. ip6? daddr @(\S+)/, (ip = '', set = '') => ({ kind: 'pair-in-set', family: familyOf(ip), set })],
  [
    /^(iifname|oifname) \. (ip6?) [sd]addr @(\S+)/,
    (name = '', ip = '', set = '') => ({ kind: 'interface-in-set', family: familyOf(ip), end: endOf(name), set }),
  ],
  [
    /^(ip6?) (saddr|daddr) (!= )?@(\S+)/,
    (ip = '', end = '', not, set = '') => {
      return { kind: 'in-set', family: familyOf(ip), end: endOf(end), set, ...(not ? { not: true } : {}) };
    },
  ],
  [
    /^(ip6?) (saddr|daddr) ([0-9a-f][^ ]*|::[^ ]*)/,
    (ip = '', end = '', cidr = '') => {
      const whole = cidr.includes('/') ? cidr : `${cidr}/${ip === 'ip' ? 32 : 128}`;
      return { kind: 'block', family: familyOf(ip), end: endOf(end), cidr: whole };
    },
  ],
  [/^meta l4proto \{ 1, 58 \}/, () => ({ kind: 'icmp' })],
  [
    /^meta l4proto (\d+)/,
    (number = '') => ({ kind: 'ports', protocol: PROTOCOLS[number]!, end: 'destination', ranges: [] }),
  ],
  [
    /^(tcp|udp|sctp) (sport|dport) (?:\{ ([^}]*) \}|(\S+))/,
    (protocol = '', end = '', list, one) => {
      const ranges = (list ?? one ?? '').split(', ').map((text) => {
        const [first, last = first] = text.split('-').map(Number);
        return { first: first!, last: last! };
      });
      return { kind: 'ports', protocol: PROTOCOLS[protocol]!, end: endOf(end), ranges };
    },
  ],
  [
    /^(iifname|oifname) "([^"*]*)(\*)?"/,
    (side = '', name = '', star) => ({
      kind: 'interface',
      end: endOf(side),
      name,
      ...(star ? { isPrefix: true } : {}),
    }),
  ],
  [/^fib (saddr|daddr) type local/, (end = '') => ({ kind: 'local', end: endOf(end) })],
  [
    /^limit rate (\d+)\/second burst (\d+) packets/,
    (perSecond, burst) => ({ kind: 'limit', perSecond: Number(perSecond), burst: Number(burst) }),
  ],
];

const TARGETS: readonly (readonly [RegExp, (...groups: string[]) => Target])[] = [
  [/^(return|drop)$/, (kind) => ({ kind: kind as 'return' | 'drop' })],
  [/^(jump|goto) (\S+)$/, (kind, chain = '') => ({ kind: kind as 'jump' | 'goto', chain })],
  [
    /^(ip6?) (saddr|daddr) vmap @(\S+)$/,
    (ip = '', end = '', map = '') => {
      return { kind: 'verdict-map', key: { kind: 'address', family: familyOf(ip), end: endOf(end) }, map };
    },
  ],
  [
    /^(iifname|oifname) vmap @(\S+)$/,
    (side = '', map = '') => ({ kind: 'verdict-map', key: { kind: 'interface', end: endOf(side) }, map }),
  ],
  [/^meta priority vmap @(\S+)$/, (map = '') => ({ kind: 'verdict-map', key: { kind: 'tag' }, map })],
  [/^meta priority set none$/, () => ({ kind: 'set-tag', tag: null })],
  [/^meta priority set ([0-9a-f]+:[0-9a-f]+)$/, (tag = '') => ({ kind: 'set-tag', tag })],
  [
    /^meta priority set (iifname|oifname) map @(\S+)$/,
    (side = '', map = '') => ({ kind: 'tag-by-interface', end: endOf(side), map }),
  ],
  [
    /^ct mark set ct mark(?: & (0x\w+))?(?: \| (0x\w+))?$/,
    (kept, bits = '0') => {
      // What is not kept is cleared; what is set was kept for nothing.
      const mask = ((kept === undefined ? 0 : ~Number(kept)) | Number(bits)) >>> 0;
      return { kind: 'set-mark', mask, bits: Number(bits) };
    },
  ],
  [/^log prefix "([^"]*)" group (\d+)$/, (prefix = '', group) => ({ kind: 'log', prefix, group: Number(group) })],
];

/** Undefined: it has something that no rule of ours has. */
export function readRuleText(line: string): Rule | undefined {
  const comment = / comment "([^"]*)"$/.exec(line)?.[1];
  let rest = comment === undefined ? line : line.slice(0, line.lastIndexOf(' comment "'));
  const matches: Match[] = [];
  for (;;) {
    const target = readTarget(rest.replace(COUNTER, ''));
    if (target) return { matches, target, ...(comment === undefined ? {} : { comment }) };
    const found = firstOf(MATCHES, rest);
    if (!found || rest[found.length] !== ' ') return undefined;
    matches.push(found.value);
    rest = rest.slice(found.length + 1);
  }
}

const COUNTER = /^counter(?: packets \d+ bytes \d+)? /;

function readTarget(text: string): Target | undefined {
  return firstOf(TARGETS, text)?.value;
}

function firstOf<T>(
  readers: readonly (readonly [RegExp, (...groups: string[]) => T])[],
  text: string,
): { readonly value: T; readonly length: number } | undefined {
  for (const [pattern, read] of readers) {
    const found = pattern.exec(text);
    if (found) return { value: read(...found.slice(1)), length: found[0].length };
  }
  return undefined;
}

function dhcp(family: Family, message: 'request' | 'answer'): Match {
  return { kind: 'dhcp', family, message };
}
