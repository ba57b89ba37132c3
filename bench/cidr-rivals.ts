/** `src/net/` beside what others have for the same jobs: packages of npm, and net.BlockList of Node.js. */
import { BlockList } from 'node:net';
import { isDeepStrictEqual } from 'node:util';
import { excludeCidr, mergeCidr, parseCidr as parseWithCidrTools } from 'cidr-tools';
import { IPv4, IPv4CidrRange, IPv6CidrRange } from 'ip-num';
import LongestPrefixMatch from 'longest-prefix-match';
import { AddressSpace } from '../src/net/address-space.ts';
import { type Cidr, formatCidr, parseCidr } from '../src/net/cidr.ts';
import { cidrOfAddress } from '../test/support/cidrs.ts';
import { CidrIndex } from './cidr-index.ts';
import { CidrTrie } from '../src/net/cidr-trie.ts';
import type { Family } from '../src/core/vocabulary.ts';
import { formatAddress, parseAddress } from '../src/net/ip.ts';
import { type Shape, makeAddresses, makeCidrs } from './cidr-lists.ts';
import { interleave } from './interleave.ts';
import { type Summary, number } from './statistics.ts';

/** Texts parsed, and addresses looked up, in a round. */
const PARSED = 20_000;
const ASKED = 2_000;
/** A list that is searched one by one is cut to this, and asked about so few. */
const SCANNED = 1_000;
const ASKED_OF_SCANNED = 5;
/** What takes seconds is not done more often. */
const MAX_SLOW_ROUNDS = 2;

export interface Comparison {
  readonly what: string;
  /** Seconds an input. */
  readonly ours: Summary;
  readonly theirs: Summary;
}

interface Contest<Input, Ours, Theirs> {
  readonly what: string;
  readonly rounds: number;
  readonly inputs: readonly Input[];
  /** How many of them the other side is given. Default: all. */
  readonly theirShare?: number;
  readonly ours: (input: Input) => Ours;
  readonly theirs: (input: Input) => Theirs;
  /** Both results in the same words, to be compared. */
  readonly words: readonly [ours: (result: Ours) => unknown, theirs: (result: Theirs) => unknown];
}

interface List {
  readonly shape: Shape;
  readonly family: Family;
  readonly name: string;
  readonly cidrs: readonly Cidr[];
  readonly texts: readonly string[];
}

/** Text in, and text or a value out, on both sides. Throws if their results differ. */
export function compareWithOthers(count: number, rounds: number): readonly Comparison[] {
  const lists = (['random', 'blocklist'] as const).flatMap((shape) =>
    ([4, 6] as const).map((family) => makeList(shape, family, count)),
  );
  const random = lists.filter(({ shape }) => shape === 'random');
  return [
    ...random.flatMap((list) => compareParsing(list, rounds)),
    ...random.map((list) => compareMaking(list, rounds)),
    ...lists.map((list) => compareMatching(list, rounds)),
    compareBlockList(random[0]!, rounds),
    compareScanning(random[0]!, rounds),
    ...lists.flatMap((list) => compareAlgebra(list, rounds)),
  ];
}

function makeList(shape: Shape, family: Family, count: number): List {
  const cidrs = makeCidrs(shape, family, count);
  const name = `${number(count)} prefixes (${shape}, IPv${family})`;
  return { shape, family, name, cidrs, texts: cidrs.map(formatCidr) };
}

function compareParsing({ family, texts }: List, rounds: number): readonly Comparison[] {
  const range = family === 4 ? IPv4CidrRange : IPv6CidrRange;
  const asked = { rounds, inputs: texts.slice(0, PARSED), ours: parseCidr };
  const format = (cidr: Cidr | undefined): string | undefined => cidr && formatCidr(cidr);
  return [
    contest({
      ...asked,
      what: `parse an IPv${family} CIDR; cidr-tools`,
      theirs: parseWithCidrTools,
      words: [format, ({ cidr }) => cidr],
    }),
    contest({
      ...asked,
      what: `parse an IPv${family} CIDR; ip-num`,
      theirShare: ASKED,
      theirs: (text) => range.fromCidr(text),
      // It writes IPv6 out in full.
      words: [format, (parsed) => format(parseCidr(parsed.toCidrString()))],
    }),
  ];
}

function compareMaking({ family, name, cidrs, texts }: List, rounds: number): Comparison {
  const asked = makeQuestions(family, cidrs);
  return contest({
    what: `make ${name} ready to match; longest-prefix-match`,
    rounds: Math.min(rounds, MAX_SLOW_ROUNDS),
    inputs: [texts],
    ours: (all) => indexOf(family, all),
    theirs: tableOf,
    words: [(index) => asked.map((text) => find(index, text)), (table) => asked.map((text) => findTheirs(table, text))],
  });
}

function compareMatching({ family, name, cidrs, texts }: List, rounds: number): Comparison {
  const [index, table] = [indexOf(family, texts), tableOf(texts)];
  return contest({
    what: `longest match in ${name}; longest-prefix-match`,
    rounds,
    inputs: makeQuestions(family, cidrs),
    ours: (text) => find(index, text),
    theirs: (text) => findTheirs(table, text),
    words: [asIs, asIs],
  });
}

/** Addresses as the prefixes that hold them alone: longest-prefix-match wants them so. */
function makeQuestions(family: Family, cidrs: readonly Cidr[]): readonly string[] {
  return makeAddresses(family, cidrs, ASKED).map((address) => formatCidr(cidrOfAddress(address)));
}

function find(index: CidrIndex<string>, text: string): string | undefined {
  return index.lookup(parseCidr(text)!.words)?.value;
}

function findTheirs(table: LongestPrefixMatch<string>, text: string): string | undefined {
  return table.getMatch(text)[0];
}

function indexOf(family: Family, texts: readonly string[]): CidrIndex<string> {
  const trie = new CidrTrie<string>(family);
  for (const text of texts) trie.insert(parseCidr(text)!, text);
  return new CidrIndex(trie);
}

function tableOf(texts: readonly string[]): LongestPrefixMatch<string> {
  const table = new LongestPrefixMatch<string>();
  for (const text of texts) table.addPrefix(text, text);
  return table;
}

function compareBlockList({ family, name, cidrs, texts }: List, rounds: number): Comparison {
  const index = indexOf(family, texts);
  const list = new BlockList();
  for (const { words, prefixLength } of cidrs)
    list.addSubnet(formatAddress({ family, words }), prefixLength, `ipv${family}`);
  return contest({
    what: `is an address in one of ${name}; net.BlockList`,
    rounds,
    inputs: makeAddresses(family, cidrs, ASKED).map(formatAddress),
    ours: (text) => index.lookup(parseAddress(text)!.words) !== undefined,
    theirs: (text) => list.check(text, `ipv${family}`),
    words: [asIs, asIs],
  });
}

function compareScanning({ family, cidrs }: List, rounds: number): Comparison {
  const texts = cidrs.slice(0, SCANNED).map(formatCidr);
  const index = indexOf(family, texts);
  const ranges = texts.map((text) => IPv4CidrRange.fromCidr(text));
  return contest({
    what: `is an address in one of ${number(texts.length)} prefixes (random, IPv4); ip-num, one by one`,
    rounds,
    inputs: makeAddresses(family, cidrs.slice(0, SCANNED), ASKED).map(formatAddress),
    theirShare: ASKED_OF_SCANNED,
    ours: (text) => index.lookup(parseAddress(text)!.words) !== undefined,
    theirs: (text) => {
      const address = new IPv4(text);
      return ranges.some((range) => range.contains(address));
    },
    words: [asIs, asIs],
  });
}

function compareAlgebra({ family, name, texts }: List, rounds: number): readonly Comparison[] {
  const half = Math.floor(texts.length / 2);
  const [left, right] = [texts.slice(0, half), texts.slice(half)];
  const slow = { rounds: Math.min(rounds, MAX_SLOW_ROUNDS), words: [asIs, asIs] as const };
  return [
    contest({
      ...slow,
      what: `the fewest CIDRs for ${name}; cidr-tools`,
      inputs: [texts],
      ours: (all) => textsOf(spaceOf(family, all)),
      theirs: (all) => mergeCidr([...all]),
    }),
    contest({
      ...slow,
      what: `half of ${name} without the other half; cidr-tools`,
      inputs: [{ left, right }],
      ours: (halves) => textsOf(spaceOf(family, halves.left).difference(spaceOf(family, halves.right))),
      theirs: (halves) => excludeCidr([...halves.left], [...halves.right]),
    }),
  ];
}

function spaceOf(family: Family, texts: readonly string[]): AddressSpace {
  return AddressSpace.fromCidrs(
    family,
    texts.map((text) => parseCidr(text)!),
  );
}

function textsOf(space: AddressSpace): readonly string[] {
  return space.toCidrs().map(formatCidr);
}

function asIs<Result>(result: Result): Result {
  return result;
}

/** A side that is wrong is none: the results are compared before anything is timed, in a round that warms up. */
function contest<Input, Ours, Theirs>(contest: Contest<Input, Ours, Theirs>): Comparison {
  const { what, rounds, inputs, theirShare = inputs.length, ours, theirs, words } = contest;
  const theirInputs = inputs.slice(0, theirShare);
  const runOurs = (): readonly Ours[] => inputs.map((input) => ours(input));
  const runTheirs = (): readonly Theirs[] => theirInputs.map((input) => theirs(input));
  const found = runOurs().slice(0, theirShare).map(words[0]);
  if (!isDeepStrictEqual(found, runTheirs().map(words[1]))) throw new Error(`${what}: the results differ`);
  const [left, right] = interleave(
    rounds,
    [
      { name: 'ours', per: inputs.length, run: runOurs },
      { name: 'theirs', per: theirInputs.length, run: runTheirs },
    ],
    0,
  );
  return { what, ours: left!, theirs: right! };
}
