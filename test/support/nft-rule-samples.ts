/**
 * Samples of every match and target that a rule of nftables can have, in the forms whose messages differ. A kind without a sample does not
 * compile.
 */
import { FAMILIES, type Family, PROTOCOLS } from '../../src/core/vocabulary.ts';
import { versionedMap } from '../../src/core/versioned-map.ts';
import type { End, Match, Rule, Target } from '../../src/dataplane/nftables/table/rule.ts';
import type { NftSet } from '../../src/dataplane/nftables/table/table.ts';
import { NEW_POD_TAGS } from '../../src/dataplane/nftables/table/tags.ts';

type Samples<T extends { readonly kind: string }> = {
  readonly [K in T['kind']]: readonly [Extract<T, { kind: Kinds<K> }>, ...Extract<T, { kind: Kinds<K> }>[]];
};
/** One type has two. */
type Kinds<K> = K extends 'jump' | 'goto' ? 'jump' | 'goto' : K;

const ENDS: readonly [End, End] = ['source', 'destination'];
const both = <T>(make: (end: End) => T): [T, T] => [make(ENDS[0]), make(ENDS[1])];
const range = (first: number, last = first) => ({ first, last });

/** Lengths that are whole bytes, and others. */
const BLOCKS: Readonly<Record<Family, readonly string[]>> = {
  4: [
    '0.0.0.0/0',
    '128.0.0.0/1',
    '10.0.0.0/8',
    '10.64.0.0/10',
    '10.1.0.0/16',
    '10.1.2.0/24',
    '10.1.2.128/25',
    '10.1.2.3/32',
  ],
  6: [
    '::/0',
    '8000::/1',
    'fe80::/10',
    'fd00::/16',
    '2001:db8::/32',
    '2001:db8:1::/48',
    '2001:db8::/127',
    '2001:db8::1/128',
  ],
};
const PORTS = [
  [],
  [range(80)],
  [range(0)],
  [range(65535)],
  [range(0, 79)],
  [range(1, 65535)],
  [range(80), range(443)],
  [range(80), range(443, 445)],
  [range(0, 9), range(65000, 65535)],
  Array.from({ length: 15 }, (_, at) => range(1000 + 2 * at)),
];

function matchSamples(family: Family): Samples<Match> {
  const set = (name: string): string => `${name}${family}`;
  return {
    state: [
      { kind: 'state', states: ['invalid'] },
      { kind: 'state', states: ['new'] },
      { kind: 'state', states: ['established', 'related'] },
      { kind: 'state', states: ['untracked', 'new', 'related'] },
      { kind: 'state', states: ['established', 'related'], not: true },
      { kind: 'state', states: ['new'], not: true },
    ],
    reply: [{ kind: 'reply' }],
    confirmed: [{ kind: 'confirmed' }],
    family: [{ kind: 'family', family }],
    'stale-mark': [
      { kind: 'stale-mark', mask: 0xff000000, bits: 0x02000000 },
      { kind: 'stale-mark', mask: 0x00000f00, bits: 0x100 },
      { kind: 'stale-mark', mask: 0xffffffff, bits: 0x80000001 },
    ],
    flag: [
      { kind: 'flag', bit: 0x01000000, isSet: true },
      { kind: 'flag', bit: 0x01000000, isSet: false },
      { kind: 'flag', bit: 0x80000000, isSet: true },
    ],
    block: both((end) => BLOCKS[family].map((cidr) => ({ kind: 'block', family, end, cidr }) as const)).flat() as [
      Extract<Match, { kind: 'block' }>,
    ],
    'in-set': [
      ...both((end) => ({ kind: 'in-set', family, end, set: set('hosts') }) as const),
      ...both((end) => ({ kind: 'in-set', family, end, set: set('ranges'), not: true }) as const),
    ],
    'in-port-set': [
      { kind: 'in-port-set', family, address: 'source', port: 'destination', set: set('ports') },
      { kind: 'in-port-set', family, address: 'destination', port: 'source', set: set('port-ranges') },
    ],
    'pair-in-set': [{ kind: 'pair-in-set', family, set: set('pairs') }],
    'interface-in-set': both((end) => ({ kind: 'interface-in-set', family, end, set: set('listed') }) as const),
    ports: PROTOCOLS.flatMap((protocol) =>
      ENDS.flatMap((end) => PORTS.map((ranges) => ({ kind: 'ports', protocol, end, ranges }) as const)),
    ) as unknown as [Extract<Match, { kind: 'ports' }>],
    icmp: [{ kind: 'icmp' }],
    'neighbour-discovery': [{ kind: 'neighbour-discovery' }],
    'listener-discovery': [{ kind: 'listener-discovery' }],
    dhcp: [
      { kind: 'dhcp', family, message: 'request' },
      { kind: 'dhcp', family, message: 'answer' },
    ],
    interface: [
      ...both((end) => ({ kind: 'interface', end, name: 'eth0' }) as const),
      ...both((end) => ({ kind: 'interface', end, name: 'vlan.eth.', isPrefix: true }) as const),
      { kind: 'interface', end: 'source', name: 'a-name-of-15-ch' },
    ],
    frame: [{ kind: 'frame', family }],
    tagged: [
      { kind: 'tagged' },
      { kind: 'tagged', not: true },
      { kind: 'tagged', tag: NEW_POD_TAGS.source },
      { kind: 'tagged', tag: 'abcd:ef01' },
    ],
    'on-link': [{ kind: 'on-link' }],
    local: both((end) => ({ kind: 'local', end }) as const),
    limit: [
      { kind: 'limit', perSecond: 10, burst: 20 },
      { kind: 'limit', perSecond: 100_000, burst: 5 },
    ],
  };
}

function targetSamples(family: Family): Samples<Target> {
  const set = (name: string): string => `${name}${family}`;
  return {
    return: [{ kind: 'return' }],
    drop: [{ kind: 'drop' }],
    jump: [{ kind: 'jump', chain: SAMPLE_CHAIN }],
    goto: [{ kind: 'goto', chain: SAMPLE_CHAIN }],
    'verdict-map': [
      ...both((end) => {
        return { kind: 'verdict-map', key: { kind: 'address', family, end }, map: set('by-address') } as const;
      }),
      ...both((end) => ({ kind: 'verdict-map', key: { kind: 'interface', end }, map: 'by-name' }) as const),
      { kind: 'verdict-map', key: { kind: 'tag' }, map: 'by-tag' },
    ],
    'set-mark': [
      { kind: 'set-mark', mask: 0xff000000, bits: 0x02000000 },
      { kind: 'set-mark', mask: 0xff000000, bits: 0xff000000 },
      { kind: 'set-mark', mask: 0x01000000, bits: 0x01000000 },
      { kind: 'set-mark', mask: 0x00f00000, bits: 0 },
      { kind: 'set-mark', mask: 0xffffffff, bits: 0x80000001 },
    ],
    'set-tag': [
      { kind: 'set-tag', tag: null },
      { kind: 'set-tag', tag: NEW_POD_TAGS.destination },
    ],
    'tag-by-interface': both((end) => ({ kind: 'tag-by-interface', end, map: 'tags' }) as const),
    log: [
      { kind: 'log', group: 7, prefix: 'denied ingress PCL-I-0123456789abcdef' },
      { kind: 'log', group: 0, prefix: 'x' },
    ],
  };
}

const SAMPLE_CHAIN = 'sample-end';
const COUNTED = { action: 'allow', direction: 'ingress', flow: 'new', of: { kind: 'closed' } } as const;

/** Every match with a plain target, every target without a match, both behind matches that look at family and protocol. */
export const SAMPLE_RULES: readonly Rule[] = FAMILIES.flatMap((family) => {
  const matches = Object.values<readonly Match[]>(matchSamples(family)).flat();
  const targets = Object.values<readonly Target[]>(targetSamples(family)).flat();
  const [port, inSet]: readonly Match[] = [
    { kind: 'ports', protocol: 'TCP', end: 'destination', ranges: [range(80)] },
    { kind: 'in-set', family, end: 'source', set: `hosts${family}` },
  ];
  const isPeer = ({ kind }: Match): boolean => ['block', 'in-set', 'in-port-set'].includes(kind);
  return [
    ...matches.map(
      (match): Rule => ({ matches: [match], target: { kind: 'return' }, counts: COUNTED, comment: 'x/a 0' }),
    ),
    ...matches.filter(isPeer).map((match): Rule => ({ matches: [port!, match], target: { kind: 'drop' } })),
    ...matches
      .filter(({ kind }) => kind === 'ports')
      .map((match): Rule => ({ matches: [inSet!, match], target: { kind: 'drop' } })),
    ...targets.map((target): Rule => ({ matches: [], target })),
    ...targets.map((target): Rule => ({ matches: [port!, inSet!], target })),
    { matches: [], target: { kind: 'drop' }, comment: 'a "quoted" ünusual \\ name' },
    { matches: [], target: { kind: 'drop' }, comment: 'long '.repeat(40) },
  ];
});

/** What they ask, filled. */
export const SAMPLE_SETS: readonly NftSet[] = [
  ...FAMILIES.flatMap((family) => {
    const type = family === 4 ? 'ipv4_addr' : 'ipv6_addr';
    const hosts = family === 4 ? ['192.0.2.1', '192.0.2.255', '255.255.255.255'] : ['2001:db8::1', 'ff02::1', '::'];
    const ranges =
      family === 4
        ? ['10.0.0.0/8', '11.0.0.7', '192.0.2.5-192.0.2.77', '255.0.0.0/8']
        : ['2001:db8::/32', 'fd00::7', 'fd00::9-fd00::1:5', 'ff00::/8'];
    const lowest = family === 4 ? ['0.0.0.0/1', '200.0.0.0/5'] : ['::/1', 'fe00::/7'];
    const service = `${type} . inet_proto . inet_service`;
    const ported = (texts: readonly string[]) => texts.map((text, at) => `${text},${[6, 17, 132][at % 3]}:${80 + at}`);
    return [
      filled({ name: `hosts${family}`, type }, hosts),
      filled({ name: `ranges${family}`, type, isInterval: true }, ranges),
      filled({ name: `lowest${family}`, type, isInterval: true }, lowest),
      filled({ name: `no-ranges${family}`, type, isInterval: true }, []),
      filled({ name: `ports${family}`, type: service }, ported(hosts)),
      filled({ name: `port-ranges${family}`, type: service, isInterval: true }, ported(ranges)),
      filled({ name: `pairs${family}`, type: `${type} . ${type}` }, [`${hosts[0]} . ${hosts[1]}`]),
      filled({ name: `listed${family}`, type: `ifname . ${type}` }, [`"eth0" . ${hosts[0]}`, `"veth.1" . ${hosts[1]}`]),
      filled({ name: `by-address${family}`, type, isMap: true }, [hosts[0]!], `goto ${SAMPLE_CHAIN}`),
    ];
  }),
  filled({ name: 'families', type: 'nf_proto' }, ['ipv4', 'ipv6']),
  filled({ name: 'by-name', type: 'ifname', isMap: true }, ['"eth0"'], `goto ${SAMPLE_CHAIN}`),
  filled({ name: 'by-tag', type: 'classid', isMap: true }, ['8000:1'], `goto ${SAMPLE_CHAIN}`),
  filled({ name: 'tags', type: 'ifname : classid', isMap: true }, ['"eth0"', '"eth1"'], 'abcd:1'),
];

function filled(set: Omit<NftSet, 'elements'>, keys: readonly string[], value: true | string = true): NftSet {
  return { ...set, elements: versionedMap(keys.map((key) => [key, value])) };
}
