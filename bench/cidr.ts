/** Suite *cidr*: parsing, building, longest-prefix match, set algebra and ORTC, beside what others have for that. */
import { AddressSpace } from '../src/net/address-space.ts';
import type { Cidr } from '../src/net/cidr.ts';
import { CidrIndex } from './cidr-index.ts';
import { CidrTrie } from '../src/net/cidr-trie.ts';
import type { Family } from '../src/core/vocabulary.ts';
import type { Address } from '../src/net/ip.ts';
import type { PrefixEntry } from '../src/net/prefix-table.ts';
import { type Shape, makeAddresses, makeCidrs } from './cidr-lists.ts';
import { type Comparison, compareWithOthers } from './cidr-rivals.ts';
import { type Side, interleave } from './interleave.ts';
import { describeMachine } from './machine.ts';
import { type Summary, ratio, spread, time } from './statistics.ts';
import { targetsTable } from './targets.ts';
import type { SuiteOptions, SuiteResult, Table } from './types.ts';

/** What is made of a longer list takes seconds: it is made once, warmed up by the shorter ones. */
const LONG = 100_000;

interface Case {
  readonly shape: Shape;
  readonly family: Family;
  readonly count: number;
}

type Operation = 'build' | 'lookup' | 'index' | 'match' | 'union' | 'difference' | 'table';

interface OperationSide extends Side {
  readonly name: Operation;
  /** What others use. */
  readonly makes?: boolean;
}

interface Measured extends Case {
  /** Seconds: the whole operation, for `lookup` in the trie and `match` in the index one address. */
  readonly seconds: Readonly<Record<Operation, Summary>>;
  readonly entries: number;
  readonly disjoint: number;
}

export async function run({ quick, rounds = quick ? 2 : 5 }: SuiteOptions): Promise<SuiteResult> {
  const counts = quick ? [1_000] : [1_000, 100_000, 1_000_000];
  const cases = counts.flatMap((count) =>
    (['random', 'blocklist'] as const).flatMap((shape) =>
      ([4, 6] as const).map((family): Case => ({ shape, family, count })),
    ),
  );
  const measured = cases.map((each) => measure(each, rounds));
  const compared = compareWithOthers(quick ? 1_000 : 100_000, rounds);
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
  const halves = [cidrs.slice(0, half), cidrs.slice(half)];
  const addresses = makeAddresses(family, cidrs, Math.min(count, 100_000));
  // What one side makes, the next ones use.
  let trie = new CidrTrie<number>(family);
  let found = new CidrIndex(trie);
  let table: readonly PrefixEntry[] = [];
  let [left, right, whole] = new Array<AddressSpace>(3).fill(AddressSpace.empty(family));
  const sides: readonly OperationSide[] = [
    {
      name: 'build',
      makes: true,
      run: () => {
        trie = trieOf(family, cidrs);
      },
    },
    { name: 'lookup', per: addresses.length, run: () => lookUpAll(trie, addresses) },
    {
      name: 'index',
      makes: true,
      run: () => {
        found = new CidrIndex(trie);
      },
    },
    { name: 'match', per: addresses.length, run: () => lookUpAll(found, addresses) },
    {
      name: 'union',
      makes: true,
      run: () => {
        [left, right] = halves.map((part) => AddressSpace.fromCidrs(family, part));
        whole = left!.union(right!);
      },
    },
    { name: 'difference', run: () => left!.difference(right!) },
    {
      name: 'table',
      makes: true,
      run: () => {
        table = whole!.toPrefixTable();
      },
    },
  ];
  const summaries = count > LONG ? measureLong(sides, rounds) : measureSides(sides, rounds);
  return {
    shape,
    family,
    count,
    seconds: summaries as Measured['seconds'],
    entries: table.length,
    disjoint: whole!.toCidrs().length,
  };
}

function measureSides(sides: readonly OperationSide[], rounds: number, warmUps?: number): Partial<Measured['seconds']> {
  const summaries = interleave(rounds, sides, warmUps);
  return Object.fromEntries(sides.map(({ name }, index) => [name, summaries[index]!]));
}

function measureLong(sides: readonly OperationSide[], rounds: number): Partial<Measured['seconds']> {
  const makers = sides.filter(({ makes }) => makes);
  const readers = sides.filter(({ makes }) => !makes);
  return { ...measureSides(makers, 1, 0), ...measureSides(readers, rounds) };
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

// -------------------------------------------------------------------------------------------------------------- tables

function targets(measured: readonly Measured[]): Table {
  const large = measured.filter(({ count }) => count === 100_000);
  const worst = (operation: Operation): number => Math.max(...large.map(({ seconds }) => seconds[operation].median));
  return targetsTable([
    {
      what: 'longest-prefix match in an index of 100,000 prefixes, slowest shape and family',
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
    note: 'From text, the same on both sides, whose results are equal; median (half of the rounds lie in brackets). The ratio is how much longer the other one takes: below 1 it is faster.',
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
