/**
 * Samples of every match and target a rule can have, in the forms whose text differs; whatever handles all of them is tried on these.
 * A kind without a sample does not compile.
 */
import type { Family } from '../../src/core/vocabulary.ts';
import type { PortRange } from '../../src/net/port-range.ts';
import type { Match, Rule, Target } from '../../src/dataplane/iptables/rules/rule.ts';

type AtLeastOne<T> = readonly [T, ...T[]];

/** By kind; no list is empty. */
export type Samples<T extends { readonly kind: string }> = {
  readonly [K in T['kind']]: AtLeastOne<Extract<T, { readonly kind: K }>>;
};

function each<A, B>([first, ...rest]: AtLeastOne<A>, make: (of: A) => B): AtLeastOne<B> {
  return [make(first), ...rest.map(make)];
}

/** The sets that the samples ask about, one of each type. */
export const SAMPLE_SETS = {
  4: { addresses: 'PCL4-addresses', prefixes: 'PCL4-prefixes', endpoints: 'PCL4-endpoints', blocks: 'PCL4-blocks' },
  6: { addresses: 'PCL6-addresses', prefixes: 'PCL6-prefixes', endpoints: 'PCL6-endpoints', blocks: 'PCL6-blocks' },
} as const satisfies Record<Family, object>;

const SAMPLE_CHAIN = 'PCL-target';

const ADDRESSES: Readonly<Record<Family, AtLeastOne<string>>> = {
  4: ['10.0.0.1'],
  6: ['fd00::1', '::ffff:10.0.0.1'],
};
/** Of IPv6 also those whose text has an IPv4 address in it. */
const BLOCKS: Readonly<Record<Family, AtLeastOne<string>>> = {
  4: ['10.0.0.0/8', '0.0.0.0/1', '203.0.113.7/32', '198.51.100.128/25'],
  6: [
    ...(['2001:db8::/32', '8000::/1', 'fd00::1/128', 'fd00:0:0:1::/64', '::/96'] as const),
    ...['fd00::/16', '::1.2.3.0/120', '::ffff:0.0.0.0/96', '64:ff9b::/96', '1:0:0:2::/63'],
  ],
};
const BUCKETS: AtLeastOne<{ readonly bits: number; readonly mask: number }> = [
  { bits: 0, mask: 15 },
  { bits: 7, mask: 15 },
  { bits: 9, mask: 15 },
  { bits: 10, mask: 15 },
  { bits: 15, mask: 15 },
  { bits: 0, mask: 0x70 },
  { bits: 0x10, mask: 0x70 },
  { bits: 0x380, mask: 0x380 },
  { bits: 0x1230, mask: 0x7ff0 },
  { bits: 0, mask: 0xe000 },
  { bits: 0xe000, mask: 0xe000 },
];

const range = (first: number, last = first): PortRange => ({ first, last });
const WEB = [range(80)];
const FIFTEEN = Array.from({ length: 15 }, (_, index) => range(1000 + 2 * index));
const SEVEN_RANGES = Array.from({ length: 7 }, (_, index) => range(100 * (index + 1), 100 * (index + 1) + 50));
/** Up to what multiport has room for: 15 slots, a range of several ports takes two. */
const PORT_LISTS: AtLeastOne<readonly PortRange[]> = [
  [],
  WEB,
  [range(1, 65534)],
  [range(0, 79)],
  [range(81, 65535)],
  [range(0)],
  [...WEB, range(90, 99)],
  FIFTEEN,
  [...SEVEN_RANGES, range(9)],
];
const PORTS: AtLeastOne<Omit<Extract<Match, { kind: 'ports' }>, 'kind'>> = [
  ...each(PORT_LISTS, (ranges) => ({ protocol: 'TCP', ranges }) as const),
  ...(['UDP', 'SCTP'] as const).flatMap((protocol) => PORT_LISTS.map((ranges) => ({ protocol, ranges }))),
  ...(['TCP', 'UDP', 'SCTP'] as const).map((protocol) => ({ protocol, ranges: WEB, multiport: true }) as const),
];

/** Per second; those that do not divide 10,000 are printed as others. */
const RATES: AtLeastOne<number> = [1, 2, 3, 7, 10, 60, 99, 100, 3000, 10_000];

export function matchSamples(family: Family): Samples<Match> {
  const sets = SAMPLE_SETS[family];
  return {
    source: each(ADDRESSES[family], (address) => ({ kind: 'source', address })),
    destination: each(ADDRESSES[family], (address) => ({ kind: 'destination', address })),
    'source-block': each(BLOCKS[family], (cidr) => ({ kind: 'source-block', cidr })),
    'destination-block': each(BLOCKS[family], (cidr) => ({ kind: 'destination-block', cidr })),
    'source-bucket': each(BUCKETS, (bucket) => ({ kind: 'source-bucket', ...bucket })),
    'destination-bucket': each(BUCKETS, (bucket) => ({ kind: 'destination-bucket', ...bucket })),
    conntrack: [
      { kind: 'conntrack', states: ['NEW'] },
      { kind: 'conntrack', states: ['ESTABLISHED', 'RELATED'] },
      { kind: 'conntrack', states: ['RELATED', 'ESTABLISHED'], direction: 'REPLY' },
      { kind: 'conntrack', states: ['INVALID'] },
      { kind: 'conntrack', states: ['INVALID', 'NEW', 'RELATED', 'ESTABLISHED'] },
    ],
    'conntrack-not': [
      { kind: 'conntrack-not', states: ['NEW'] },
      { kind: 'conntrack-not', states: ['ESTABLISHED', 'RELATED'] },
    ],
    'conntrack-confirmed': [{ kind: 'conntrack-confirmed' }],
    'stale-mark': [{ kind: 'stale-mark' }],
    'current-mark': [{ kind: 'current-mark' }],
    'denied-flag': each([true, false], (set) => ({ kind: 'denied-flag', set })),
    'same-address': [{ kind: 'same-address' }],
    icmp: [{ kind: 'icmp' }],
    'neighbour-discovery': [{ kind: 'neighbour-discovery' }],
    ports: each(PORTS, (ports) => ({ kind: 'ports', ...ports })),
    'source-ports': each(PORTS, (ports) => ({ kind: 'source-ports', ...ports })),
    set: [
      { kind: 'set', set: sets.addresses, dimensions: 'src' },
      { kind: 'set', set: sets.prefixes, dimensions: 'dst' },
      ...(['dst,dst', 'src,src', 'src,dst', 'dst,src'] as const).map(
        (dimensions) => ({ kind: 'set', set: sets.endpoints, dimensions }) as const,
      ),
      { kind: 'set', set: sets.blocks, dimensions: 'src,dst' },
    ],
    'not-in-set': [
      { kind: 'not-in-set', set: sets.prefixes, dimensions: 'src' },
      { kind: 'not-in-set', set: sets.endpoints, dimensions: 'src,dst' },
    ],
    'in-interface-prefix': each(['vlan.eth.', 'eni'], (prefix) => ({ kind: 'in-interface-prefix', prefix })),
    'out-interface-prefix': each(['vlan.eth.', 'eni'], (prefix) => ({ kind: 'out-interface-prefix', prefix })),
    'not-in-interface-prefix': [{ kind: 'not-in-interface-prefix', prefix: 'eni' }],
    'not-out-interface-prefix': [{ kind: 'not-out-interface-prefix', prefix: 'eni' }],
    'in-interface': each(['eni0123456789a', 'veth0'], (name) => ({ kind: 'in-interface', name })),
    'out-interface': each(['eni0123456789a', 'veth1'], (name) => ({ kind: 'out-interface', name })),
    'in-port': [
      { kind: 'in-port', name: 'veth0123456789a' },
      { kind: 'in-port', name: 'vetha', isPrefix: true },
    ],
    'out-port': [
      { kind: 'out-port', name: 'veth0123456789a' },
      { kind: 'out-port', name: 'vetha', isPrefix: true },
    ],
    dhcp: [
      { kind: 'dhcp', message: 'request' },
      { kind: 'dhcp', message: 'answer' },
    ],
    'source-is-local': [{ kind: 'source-is-local' }],
    'destination-is-local': [{ kind: 'destination-is-local' }],
    limit: [
      ...each(RATES, (perSecond) => ({ kind: 'limit', perSecond, burst: 5 }) as const),
      ...RATES.flatMap((perSecond) => [1, 20].map((burst) => ({ kind: 'limit', perSecond, burst }) as const)),
    ],
    comment: each(
      [
        'x/p ingress rules 0,1',
        'word',
        'two-words_9',
        '-j ACCEPT',
        'a/b',
        'a/b: two words -j DROP',
        '$(x) `y` ; # & | < > * ? ! [z] {} ~ ^ % @ = + : , .',
        'quotes " and \\ and \' and \n and \u00fc and \u{1f600}',
        'x'.repeat(300),
        '',
      ],
      (text) => ({ kind: 'comment', text }),
    ),
  };
}

export const TARGET_SAMPLES: Samples<Target> = {
  return: [{ kind: 'return' }],
  drop: [{ kind: 'drop' }],
  jump: [{ kind: 'jump', chain: SAMPLE_CHAIN }],
  goto: [{ kind: 'goto', chain: SAMPLE_CHAIN }],
  'stamp-epoch': [{ kind: 'stamp-epoch' }],
  'set-denied-flag': [{ kind: 'set-denied-flag' }],
  log: [
    { kind: 'log', group: 0, prefix: 'word' },
    { kind: 'log', group: 1, prefix: 'denied egress PCL-E-abcdefghijklmnop' },
    { kind: 'log', group: 65535, prefix: 'p'.repeat(100) },
    { kind: 'log', group: 7, prefix: 'with/slash' },
    { kind: 'log', group: 7, prefix: '"\\\' $x' },
  ],
  none: [{ kind: 'none' }],
};

const IPV6_ALONE: readonly Match['kind'][] = ['neighbour-discovery'];

/** All that a rule of the family can have. */
export function everyMatch(family: Family): readonly Match[] {
  return Object.values<readonly Match[]>(matchSamples(family))
    .flat()
    .filter(({ kind }) => family === 6 || !IPV6_ALONE.includes(kind));
}

export const EVERY_TARGET: readonly Target[] = Object.values<readonly Target[]>(TARGET_SAMPLES).flat();

/** Each match alone in front of a drop, each target alone. */
export function everyRule(family: Family): readonly Rule[] {
  return [
    ...everyMatch(family).map((match): Rule => ({ matches: [match], target: { kind: 'drop' } })),
    ...EVERY_TARGET.map((target): Rule => ({ matches: [], target })),
  ];
}
