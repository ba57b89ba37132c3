/** What the CIDR core costs, beside ip-num and net.BlockList. Run: `node bench/cidr.ts [prefixes]`. */
import { BlockList } from 'node:net';
import { IPv4, IPv4CidrRange, IPv6CidrRange } from 'ip-num';
import { AddressSpace } from '../src/net/address-space.ts';
import { type Cidr, formatCidr, makeCidr, parseCidr } from '../src/net/cidr.ts';
import { CidrTrie } from '../src/net/cidr-trie.ts';
import { type Address, ADDRESS_WORDS, type Family, formatAddress } from '../src/net/ip.ts';

const COUNT = Number(process.argv[2] ?? 100_000);
const FAMILIES: readonly Family[] = [4, 6];
const rows: { what: string; IPv4: string; IPv6: string }[] = [];

/** Uniform uint32 from a fixed seed (xorshift32). */
let state = 0x9e3779b9;
function random32(): number {
  state ^= state << 13;
  state ^= state >>> 17;
  state ^= state << 5;
  return state >>> 0;
}

function randomWords(family: Family): number[] {
  return Array.from({ length: ADDRESS_WORDS[family] }, random32);
}

/** Lengths 16..32, or 24..128. */
function randomCidr(family: Family): Cidr {
  return makeCidr(family, randomWords(family), family === 4 ? 16 + (random32() % 17) : 24 + (random32() % 105));
}

/** Median of five runs after one to warm up, in ms. */
function median(run: () => unknown): number {
  run();
  const times = Array.from({ length: 5 }, () => {
    const start = performance.now();
    run();
    return performance.now() - start;
  });
  return times.sort((a, b) => a - b)[2]!;
}

function row(what: string, unit: 'ns each' | 'ms', times: readonly (number | undefined)[], per = COUNT): void {
  const [IPv4 = '-', IPv6 = '-'] = times.map((ms) =>
    ms === undefined ? '-' : unit === 'ms' ? `${ms.toFixed(1)} ms` : `${((ms * 1e6) / per).toFixed(0)} ns`,
  );
  rows.push({ what, IPv4, IPv6 });
}

const cidrs = {
  4: Array.from({ length: COUNT }, () => randomCidr(4)),
  6: Array.from({ length: COUNT }, () => randomCidr(6)),
};
const texts = { 4: cidrs[4].map(formatCidr), 6: cidrs[6].map(formatCidr) };
/** Half of the addresses lie inside of a prefix. */
const addresses = Object.fromEntries(
  FAMILIES.map((family) => [
    family,
    cidrs[family].map((cidr, i): Address => ({ family, words: i & 1 ? randomWords(family) : cidr.words })),
  ]),
) as Record<Family, Address[]>;
const tries = Object.fromEntries(FAMILIES.map((family) => [family, trieOf(family)])) as Record<
  Family,
  CidrTrie<number>
>;

function trieOf(family: Family): CidrTrie<number> {
  const trie = new CidrTrie<number>(family);
  for (const [i, cidr] of cidrs[family].entries()) trie.insert(cidr, i);
  return trie;
}

const each = (run: (family: Family) => void): number[] => FAMILIES.map((family) => median(() => run(family)));

row(
  'parseCidr',
  'ns each',
  each((family) => texts[family].forEach((text) => parseCidr(text))),
);
const FEW = Math.min(COUNT, 5_000);
row(
  'ip-num fromCidr',
  'ns each',
  [
    median(() => texts[4].slice(0, FEW).forEach((text) => IPv4CidrRange.fromCidr(text))),
    median(() => texts[6].slice(0, FEW).forEach((text) => IPv6CidrRange.fromCidr(text))),
  ],
  FEW,
);
row(
  'formatCidr',
  'ns each',
  each((family) => cidrs[family].forEach((cidr) => formatCidr(cidr))),
);
row(`trie: build ${COUNT}`, 'ms', each(trieOf));
row(
  'trie: lookup',
  'ns each',
  each((family) => addresses[family].forEach(({ words }) => tries[family].lookup(words))),
);

const LIST = Math.min(COUNT, 10_000);
const blockList = new BlockList();
for (const { words, prefixLength } of cidrs[4].slice(0, LIST)) {
  blockList.addSubnet(formatAddress({ family: 4, words }), prefixLength, 'ipv4');
}
const asked = addresses[4].slice(0, 2_000).map(formatAddress);
row(
  `net.BlockList.check, ${LIST} prefixes`,
  'ns each',
  [median(() => asked.forEach((text) => blockList.check(text)))],
  2_000,
);
const ranges = texts[4].slice(0, 1_000).map((text) => IPv4CidrRange.fromCidr(text));
const wanted = new IPv4('203.0.113.1');
row(
  'ip-num contains, one by one through 1000 prefixes',
  'ns each',
  [median(() => ranges.filter((range) => range.contains(wanted)))],
  1,
);

const blocksOf = (family: Family): { cidr: Cidr; except: Cidr[] }[] =>
  cidrs[family].map((cidr) => ({ cidr, except: [] }));
row(
  `fromBlocks, ${COUNT} blocks`,
  'ms',
  each((family) => AddressSpace.fromBlocks(family, blocksOf(family))),
);
const spaces = Object.fromEntries(
  FAMILIES.map((family) => [family, AddressSpace.fromBlocks(family, blocksOf(family))]),
) as Record<Family, AddressSpace>;
row(
  'contains',
  'ns each',
  each((family) => addresses[family].forEach((address) => spaces[family].contains(address))),
);
row(
  `toPrefixTable, ${COUNT} blocks`,
  'ms',
  each((family) => spaces[family].toPrefixTable()),
);
row(
  `toCidrs, ${COUNT} blocks`,
  'ms',
  each((family) => spaces[family].toCidrs()),
);
const holes = (family: Family): AddressSpace => AddressSpace.full(family).difference(spaces[family]);
row(
  'toPrefixTable of the rest',
  'ms',
  each((family) => holes(family).toPrefixTable()),
);
console.table(rows);
console.table(
  FAMILIES.map((family) => ({
    family,
    blocks: COUNT,
    table: spaces[family].toPrefixTable().length,
    cidrs: spaces[family].toCidrs().length,
    'table of the rest': holes(family).toPrefixTable().length,
    'cidrs of the rest': holes(family).toCidrs().length,
  })),
);
