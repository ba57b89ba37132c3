/** The prefixes of a trie as they are now, for many lookups: longest-prefix match by binary search instead of one step per bit. */
import { endOf } from './boundaries.ts';
import { cidrCovers } from './cidr.ts';
import type { CidrTrie, CidrTrieEntry } from './cidr-trie.ts';
import { ADDRESS_WORDS, type Family } from './ip.ts';

/** The first bits of an address, by which it is known between which two boundaries to search. */
const FIRST_BITS = 16;

/**
 * Where the longest prefix changes along the addresses of the family, ascending, and what it is from there on: two such boundaries
 * a prefix. Of several at one address the last counts. A snapshot: what goes into the trie afterwards is not in it.
 */
export class CidrIndex<V> {
  readonly family: Family;
  /** `ADDRESS_WORDS[family]` uint32 a boundary; the first is the first address of the family. */
  readonly #boundaries: Uint32Array;
  /** From boundary i on. */
  readonly #entries: readonly (CidrTrieEntry<V> | undefined)[];
  /** By the first bits: the last boundary at or before the first address with them. One more, for the end. */
  readonly #starts: Uint32Array;

  constructor(trie: CidrTrie<V>) {
    this.family = trie.family;
    const { boundaries, entries } = boundariesOf(trie);
    this.#boundaries = Uint32Array.from(boundaries);
    this.#entries = entries;
    this.#starts = startsOf(this.#boundaries, ADDRESS_WORDS[trie.family]);
  }

  /** The entry with the longest prefix that holds the address `words` of this family, as `CidrTrie.lookup`. Allocates nothing. */
  lookup(words: readonly number[]): CidrTrieEntry<V> | undefined {
    const boundaries = this.#boundaries;
    const word0 = words[0]!;
    const slot = word0 >>> (32 - FIRST_BITS);
    // The answer lies in low..high, both included.
    let low = this.#starts[slot]!;
    let high = this.#starts[slot + 1]!;
    if (words.length === 1) {
      while (low < high) {
        const middle = (low + high + 1) >>> 1;
        if (boundaries[middle]! <= word0) low = middle;
        else high = middle - 1;
      }
      return this.#entries[low];
    }
    while (low < high) {
      const middle = (low + high + 1) >>> 1;
      if (isUpTo(boundaries, 4 * middle, words)) low = middle;
      else high = middle - 1;
    }
    return this.#entries[low];
  }
}

/** Whether the boundary at `at` lies at or before an IPv6 address. */
function isUpTo(boundaries: Uint32Array, at: number, words: readonly number[]): boolean {
  for (let k = 0; k < 3; k++) {
    const [boundary, word] = [boundaries[at + k]!, words[k]!];
    if (boundary !== word) return boundary < word;
  }
  return boundaries[at + 3]! <= words[3]!;
}

interface Boundaries<V> {
  readonly boundaries: readonly number[];
  readonly entries: readonly (CidrTrieEntry<V> | undefined)[];
}

/** Prefixes come in ascending order, what covers others before them: those that are open form a stack. */
function boundariesOf<V>(trie: CidrTrie<V>): Boundaries<V> {
  const width = ADDRESS_WORDS[trie.family];
  const boundaries: number[] = new Array<number>(width).fill(0);
  const entries: (CidrTrieEntry<V> | undefined)[] = [undefined];
  const open: CidrTrieEntry<V>[] = [];
  const change = (words: readonly number[], entry: CidrTrieEntry<V> | undefined): void => {
    boundaries.push(...words);
    entries.push(entry);
  };
  const close = (): void => {
    const end = endOf(open.pop()!.cidr);
    if (end) change(end, open.at(-1));
  };
  for (const entry of trie) {
    while (open.length > 0 && !cidrCovers(open.at(-1)!.cidr, entry.cidr)) close();
    change(entry.cidr.words, entry);
    open.push(entry);
  }
  while (open.length > 0) close();
  return { boundaries, entries };
}

function startsOf(boundaries: Uint32Array, width: number): Uint32Array {
  const starts = new Uint32Array(2 ** FIRST_BITS + 1);
  const count = boundaries.length / width;
  let next = 1;
  for (let slot = 0; slot < starts.length; slot++) {
    const first = slot * 2 ** (32 - FIRST_BITS);
    while (next < count && isUpToFirst(boundaries, next * width, width, first)) next++;
    starts[slot] = next - 1;
  }
  return starts;
}

/** Whether the boundary at `at` lies at or before the address of the word `first` and zeros. */
function isUpToFirst(boundaries: Uint32Array, at: number, width: number, first: number): boolean {
  if (boundaries[at] !== first) return boundaries[at]! < first;
  return boundaries.subarray(at + 1, at + width).every((word) => word === 0);
}
