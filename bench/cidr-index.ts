/**
 * The prefixes of a trie as they are now, for many lookups: longest-prefix match by binary search instead of one step per bit. What
 * the product could have if it matched as often; its trie does (`src/net/cidr-trie.ts`).
 */
import { type Cidr, cidrCovers, moveOn } from '../src/net/cidr.ts';
import type { CidrTrie, CidrTrieEntry } from '../src/net/cidr-trie.ts';
import type { Family } from '../src/core/vocabulary.ts';
import { ADDRESS_WORDS } from '../src/net/ip.ts';

/**
 * Where the longest prefix changes along the addresses of the family, and what it is from there on: at most two such boundaries a
 * prefix. A snapshot: what goes into the trie afterwards is not in it.
 *
 * A slot for about each boundary says where to search, so that a match goes to memory for a slot, the few boundaries in it, and
 * the entry, however many prefixes there are.
 */
export class CidrIndex<V> {
  readonly family: Family;
  /** `ADDRESS_WORDS[family]` uint32 a boundary, ascending; the first is the first address of the family. */
  readonly #boundaries: Uint32Array;
  /** From boundary i on. */
  readonly #entries: readonly (CidrTrieEntry<V> | undefined)[];
  readonly #slots: Slots;

  constructor(trie: CidrTrie<V>) {
    this.family = trie.family;
    const { boundaries, entries } = changesOf(trie);
    this.#boundaries = boundaries;
    this.#entries = entries;
    this.#slots = slotsOf(boundaries, ADDRESS_WORDS[trie.family]);
  }

  /** The entry with the longest prefix that holds the address `words` of this family, as `CidrTrie.lookup`. Allocates nothing. */
  lookup(words: readonly number[]): CidrTrieEntry<V> | undefined {
    const boundaries = this.#boundaries;
    const { base, shift, starts } = this.#slots;
    const word0 = words[0]!;
    if (word0 < base) return this.#entries[0];
    const slot = Math.min((word0 - base) >>> shift, starts.length - 2);
    // The answer lies in low..high, both included.
    let low = starts[slot]!;
    let high = starts[slot + 1]!;
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

interface Changes<V> {
  readonly boundaries: Uint32Array;
  readonly entries: readonly (CidrTrieEntry<V> | undefined)[];
}

/** Prefixes come in ascending order, what covers others before them: those that are open form a stack. */
function changesOf<V>(trie: CidrTrie<V>): Changes<V> {
  const width = ADDRESS_WORDS[trie.family];
  const boundaries = new Uint32Array((2 * trie.size + 1) * width);
  const entries: (CidrTrieEntry<V> | undefined)[] = [undefined];
  const open: CidrTrieEntry<V>[] = [];
  /** From the first address of `cidr` on, or from the one behind its last; of several changes at one address the last counts. */
  const change = (cidr: Cidr, isBehind: boolean, entry: CidrTrieEntry<V> | undefined): void => {
    const at = entries.length * width;
    for (let k = 0; k < width; k++) boundaries[at + k] = cidr.words[k]!;
    if (isBehind && !moveOn(boundaries, at, cidr.prefixLength)) return;
    if (isRepeated(boundaries, at, width)) entries[entries.length - 1] = entry;
    else entries.push(entry);
  };
  const close = (): void => change(open.pop()!.cidr, true, open.at(-1));
  for (const entry of trie) {
    while (open.length > 0 && !cidrCovers(open.at(-1)!.cidr, entry.cidr)) close();
    change(entry.cidr, false, entry);
    open.push(entry);
  }
  while (open.length > 0) close();
  return { boundaries: boundaries.slice(0, entries.length * width), entries };
}

/** Whether the address at `at` is the one before it once more. */
function isRepeated(words: Uint32Array, at: number, width: number): boolean {
  for (let k = at; k < at + width; k++) {
    if (words[k] !== words[k - width]) return false;
  }
  return true;
}

/** The first words of addresses from `base` to that of the last boundary, cut into slots of `2 ** shift`. */
interface Slots {
  readonly base: number;
  readonly shift: number;
  /** By slot: the last boundary before its first word, or the first of all; one more, for the last boundary of all. */
  readonly starts: Uint32Array;
}

/** About as many slots as boundaries. */
function slotsOf(boundaries: Uint32Array, width: number): Slots {
  const count = boundaries.length / width;
  if (count === 1) return { base: 0, shift: 31, starts: new Uint32Array(2) };
  const base = boundaries[width]!;
  const span = boundaries[(count - 1) * width]! - base;
  const shift = Math.max(0, Math.clz32(count) - Math.clz32(span));
  const starts = new Uint32Array((span >>> shift) + 2);
  let next = 1;
  for (let slot = 0; slot < starts.length - 1; slot++) {
    const first = base + slot * 2 ** shift;
    while (next < count && boundaries[next * width]! < first) next++;
    starts[slot] = next - 1;
  }
  starts[starts.length - 1] = count - 1;
  return { base, shift, starts };
}
