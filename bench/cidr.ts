/** Suite *cidr*: parsing, building, longest-prefix match, set algebra and ORTC, beside ip-num and net.BlockList. */
import { BlockList } from 'node:net';
import { IPv4CidrRange, IPv6CidrRange } from 'ip-num';
import { AddressSpace } from '../src/net/address-space.ts';
import { type Cidr, formatCidr, parseCidr } from '../src/net/cidr.ts';
import { CidrIndex } from '../src/net/cidr-index.ts';
import { CidrTrie } from '../src/net/cidr-trie.ts';
import { type Address, type Family, formatAddress } from '../src/net/ip.ts';
import { makeAddresses, makeCidrs, type Shape } from './cidr-lists.ts';
import { interleave } from './interleave.ts';
import { describeMachine } from './machine.ts';
import { number, ratio, type Summary, spread, time } from './statistics.ts';
import { targetsTable } from './targets.ts';
import type { SuiteOptions, SuiteResult, Table } from './types.ts';

/** Others are asked about this many, once per round: they would take minutes for all. */
const FEW = 2_000;
/** A list that is searched one by one is cut to this. */
const SCANNED = 1_000;

interface Case {
  readonly shape: Shape;
  readonly family: Family;
  readonly count: number;
}

type Operation = 'build' | 'lookup' | 'index' | 'match' | 'union' | 'difference' | 'table';

interface Measured extends Case {
  /** Seconds: the whole operation, for `lookup` in the trie and `match` in the index one address. */
  readonly seconds: Readonly<Record<Operation, Summary>>;
  readonly entries: number;
  readonly disjoint: number;
}

interface Comparison {
  readonly what: string;
  readonly ours: Summary;
  readonly theirs: Summary;
}

export async function run({ quick, rounds = quick ? 2 : 7 }: SuiteOptions): Promise<SuiteResult> {
  const counts = quick ? [1_000] : [1_000, 100_000, 1_000_000];
  const cases = counts.flatMap((count) =>
    (['random', 'blocklist'] as const).flatMap((shape) =>
      ([4, 6] as const).map((family): Case => ({ shape, family, count })),
    ),
  );
  const measured = cases.map((each) => measure(each, each.count > 100_000 ? Math.min(rounds, 3) : rounds));
  const compared = compare(quick ? 1_000 : 100_000, rounds);
  return {
    suite: 'cidr',
    machine: describeMachine(),
    tables: [
      ...(quick ? [] : [targets(measured)]),
      comparisonTable(compared),
      ...counts.map((count) => sizeTable(measured.filter((each) => each.count === count))),
    ],
    raw: { measured, compared },
  };
}

function measure({ shape, family, count }: Case, rounds: number): Measured {
  const cidrs = makeCidrs(shape, family, count);
  const half = Math.floor(count / 2);
  const [left, right] = [cidrs.slice(0, half), cidrs.slice(half)].map((part) => AddressSpace.fromCidrs(family, part));
  const whole = left!.union(right!);
  const trie = trieOf(family, cidrs);
  const found = new CidrIndex(trie);
  const addresses = makeAddresses(family, cidrs, Math.min(count, 100_000));
  const [build, lookup, index, match, union, difference, table] = interleave(rounds, [
    { name: 'build', run: () => trieOf(family, cidrs) },
    { name: 'lookup', per: addresses.length, run: () => lookUpAll(trie, addresses) },
    { name: 'index', run: () => new CidrIndex(trie) },
    { name: 'match', per: addresses.length, run: () => lookUpAll(found, addresses) },
    { name: 'union', run: () => AddressSpace.fromCidrs(family, cidrs) },
    { name: 'difference', run: () => left!.difference(right!) },
    { name: 'table', run: () => whole.toPrefixTable() },
  ]);
  return {
    shape,
    family,
    count,
    seconds: {
      build: build!,
      lookup: lookup!,
      index: index!,
      match: match!,
      union: union!,
      difference: difference!,
      table: table!,
    },
    entries: whole.toPrefixTable().length,
    disjoint: whole.toCidrs().length,
  };
}

function trieOf(family: Family, cidrs: readonly Cidr[]): CidrTrie<number> {
  const trie = new CidrTrie<number>(family);
  for (const [index, cidr] of cidrs.entries()) trie.insert(cidr, index);
  return trie;
}

function lookUpAll(table: CidrTrie<number> | CidrIndex<number>, addresses: readonly Address[]): number {
  let found = 0;
  for (const { words } of addresses) if (table.lookup(words) !== undefined) found++;
  return found;
}

/** Per text, or per address. The other side in the list it was made for: one that can be searched at all. */
function compare(count: number, rounds: number): readonly Comparison[] {
  const [cidrs4, cidrs6] = [makeCidrs('random', 4, count), makeCidrs('random', 6, count)];
  const [texts4, texts6] = [cidrs4, cidrs6].map((cidrs) => cidrs.slice(0, FEW).map(formatCidr));
  const addresses = makeAddresses(4, cidrs4, FEW);
  const asked = addresses.map(formatAddress);
  const index = new CidrIndex(trieOf(4, cidrs4));
  const blockList = blockListOf(cidrs4);
  const scanned = cidrs4.slice(0, SCANNED);
  const ranges = scanned.map((cidr) => IPv4CidrRange.fromCidr(formatCidr(cidr)));
  const few = new CidrIndex(trieOf(4, scanned));
  const wanted = ranges.map((range) => range.getFirst());
  const ours = scanned.map(({ words }): Address => ({ family: 4, words }));
  const pairs: readonly (readonly [string, number, () => unknown, () => unknown])[] = [
    [
      'parse an IPv4 CIDR; ip-num',
      FEW,
      () => texts4!.map((text) => parseCidr(text)),
      () => texts4!.map((text) => IPv4CidrRange.fromCidr(text)),
    ],
    [
      'parse an IPv6 CIDR; ip-num',
      FEW,
      () => texts6!.map((text) => parseCidr(text)),
      () => texts6!.map((text) => IPv6CidrRange.fromCidr(text)),
    ],
    [
      `is an address in one of ${number(count)} prefixes; net.BlockList`,
      FEW,
      () => lookUpAll(index, addresses),
      () => asked.slice(0, 200).filter((text) => blockList.check(text)),
    ],
    [
      `is an address in one of ${number(SCANNED)} prefixes; ip-num, one by one`,
      SCANNED,
      () => lookUpAll(few, ours),
      () => wanted.slice(0, 20).map((address) => ranges.filter((range) => range.contains(address))),
    ],
  ];
  return pairs.map(([what, per, mine, other], index) => {
    const [left, right] = interleave(rounds, [
      { name: 'ours', per, run: mine },
      { name: 'theirs', per: [FEW, FEW, 200, 20][index]!, run: other },
    ]);
    return { what, ours: left!, theirs: right! };
  });
}

function blockListOf(cidrs: readonly Cidr[]): BlockList {
  const list = new BlockList();
  for (const { words, prefixLength } of cidrs)
    list.addSubnet(formatAddress({ family: 4, words }), prefixLength, 'ipv4');
  return list;
}

// -------------------------------------------------------------------------------------------------------------- tables

function targets(measured: readonly Measured[]): Table {
  const large = measured.filter(({ count }) => count === 100_000);
  const worst = (operation: Operation): number => Math.max(...large.map(({ seconds }) => seconds[operation].median));
  return targetsTable([
    {
      what: 'longest-prefix match in 100,000 prefixes, slowest shape and family',
      measured: worst('match') * 1e6,
      limit: 0.5,
      kind: 'at-most',
      unit: 'µs',
    },
    {
      what: 'ORTC of 100,000 prefixes, slowest shape and family',
      measured: worst('table'),
      limit: 1,
      kind: 'at-most',
      unit: 's',
    },
  ]);
}

function comparisonTable(compared: readonly Comparison[]): Table {
  return {
    title: 'beside others',
    note: 'Median per text or address (half of the rounds lie in brackets). The ratio is how much longer the other one takes.',
    columns: ['what; the other side', 'net/', 'the other', 'ratio'],
    rows: compared.map(({ what, ours, theirs }) => [
      what,
      spread(ours),
      spread(theirs),
      ratio(theirs.median / ours.median),
    ]),
  };
}

function sizeTable(measured: readonly Measured[]): Table {
  return {
    title: `${measured[0]!.count.toLocaleString('en-US')} prefixes`,
    note: 'The trie takes prefixes in and gives them up; the index is made of it, for many matches. ORTC: the smallest longest-prefix-match table. Entries: in that table, and as disjoint CIDRs.',
    columns: [
      'list',
      'build trie',
      'match in it',
      'build index',
      'match in it',
      'union of all',
      'half minus half',
      'ORTC',
      'entries',
      'disjoint',
    ],
    rows: measured.map(({ shape, family, seconds, entries, disjoint }) => [
      `${shape}, IPv${family}`,
      time(seconds.build.median),
      time(seconds.lookup.median),
      time(seconds.index.median),
      time(seconds.match.median),
      time(seconds.union.median),
      time(seconds.difference.median),
      time(seconds.table.median),
      entries,
      disjoint,
    ]),
  };
}
