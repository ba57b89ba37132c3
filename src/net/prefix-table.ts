/**
 * Sets of addresses as prefixes: the smallest longest-prefix-match table, and the fewest disjoint prefixes.
 *
 * Source: Draves, King, Venkatachary, Zill, "Constructing Optimal IP Routing Tables" (ORTC), INFOCOM 1999, with two actions.
 * The set is seen as the binary trie of prefixes that membership changes inside of, with its uniform prefixes as leaves. Of that
 * trie only the nodes where boundaries part are visited; the levels between two of them are a chain with one uniform sibling a
 * level, and cost a few bit operations each. Recursion is as deep as an address is long.
 */
import type { Boundaries } from './boundaries.ts';
import { type Cidr, makeCidr } from './cidr.ts';
import { ADDRESS_WORDS, type Family } from './ip.ts';

/** One entry of a longest-prefix-match table; `match: false` is ipset's `nomatch`. */
export interface PrefixEntry {
  readonly cidr: Cidr;
  readonly match: boolean;
}

/** Sets of actions, as bits: those with which a prefix can be written in the fewest entries. */
const NOMATCH = 1;
const MATCH = 2;
const EITHER = NOMATCH | MATCH;

/**
 * The smallest table under which the longest prefix that holds an address says whether the set has it; no prefix means no match.
 * Ordered by `compareCidrs`. Never holds `/0`, which ipset's hash:net refuses: it is the smallest of the tables without it.
 */
export function prefixTableOf(family: Family, boundaries: Boundaries): readonly PrefixEntry[] {
  const walk = new TrieWalk(family, boundaries);
  const { low, high } = walk.root;
  if (boundaries.length === 0) return [];
  const { split, right } = walk.part(0, low, high);
  walk.choose(1, low, split);
  walk.choose(1, right, high);
  walk.write(1, low, split, NOMATCH, 0, 0);
  walk.write(1, right, high, NOMATCH, 0, 1);
  return walk.entries;
}

/** The fewest disjoint prefixes that hold exactly the set, ascending. The whole family is one `/0`. */
export function cidrsOf(family: Family, boundaries: Boundaries): readonly Cidr[] {
  const walk = new TrieWalk(family, boundaries);
  const { low, high } = walk.root;
  if (boundaries.length > 0) walk.write(0, low, high, NOMATCH, 0, 0);
  return walk.entries.map((entry) => entry.cidr);
}

/**
 * A trie node is (depth, low, high): a prefix of `depth` bits, and the boundaries low..high-1 that lie inside of it, not counting its
 * first address. Without any it is a leaf. The set holds the address just before boundary i exactly if i is odd.
 */
class TrieWalk {
  readonly entries: PrefixEntry[] = [];
  readonly root: { readonly low: number; readonly high: number };
  readonly #family: Family;
  readonly #boundaries: Boundaries;
  readonly #width: number;
  /** Best actions of the parting nodes, in the order of visit. Stays empty when entries must not overlap. */
  readonly #choices: number[] = [];
  #visited = 0;
  /** By depth, for the nodes on the way to the one being written: best actions, and the action in force. */
  readonly #best: number[] = [];
  readonly #inForce: number[] = [];

  constructor(family: Family, boundaries: Boundaries) {
    this.#family = family;
    this.#boundaries = boundaries;
    this.#width = ADDRESS_WORDS[family];
    const high = boundaries.length / this.#width;
    this.root = { low: high > 0 && this.#lowestBit(0) < 0 ? 1 : 0, high };
  }

  /** Finds the best actions of the parting nodes at and under a node; returns those of the node. */
  choose(depth: number, low: number, high: number): number {
    if (low === high) return actionBefore(low);
    const bottom = this.#partingDepth(low, high);
    const { split, right } = this.part(bottom, low, high);
    const slot = this.#choices.push(EITHER) - 1;
    let best = meet(this.choose(bottom + 1, low, split), this.choose(bottom + 1, right, high));
    this.#choices[slot] = best;
    for (let level = bottom - 1; level >= depth; level--) best = meet(best, this.#siblingAction(level, low, high));
    return best;
  }

  /**
   * Writes the entries at and under a node where `action` is in force. A leaf's prefix is that of boundary `near`, but for the last
   * bit, which is `side`.
   */
  write(depth: number, low: number, high: number, action: number, near: number, side: number): void {
    if (low === high) {
      if (actionBefore(low) !== action) this.#add(depth, actionBefore(low), near, side);
      return;
    }
    const bottom = this.#partingDepth(low, high);
    const { split, right } = this.part(bottom, low, high);
    const inForce = this.#descend(depth, bottom, low, high, action);
    this.write(bottom + 1, low, split, inForce, low, 0);
    this.write(bottom + 1, right, high, inForce, low, 1);
    // Siblings to the right of the chain come after everything under it.
    for (let level = bottom - 1; level >= depth; level--) {
      if (this.#bit(low, level) === 0) this.write(level + 1, high, high, this.#inForce[level]!, low, 1);
    }
  }

  /** Writes the chain from `depth` to `bottom` with its siblings to the left; returns the action in force at the bottom. */
  #descend(depth: number, bottom: number, low: number, high: number, action: number): number {
    this.#recallBest(depth, bottom, low, high);
    let inForce = action;
    for (let level = depth; level <= bottom; level++) {
      const best = this.#best[level]!;
      if ((best & inForce) === 0) {
        inForce = best;
        this.#add(level, inForce, low, this.#bit(low, level - 1));
      }
      this.#inForce[level] = inForce;
      if (level < bottom && this.#bit(low, level) === 1) this.write(level + 1, low, low, inForce, low, 0);
    }
    return inForce;
  }

  #recallBest(depth: number, bottom: number, low: number, high: number): void {
    const chosen = this.#choices[this.#visited++];
    this.#best[bottom] = chosen ?? EITHER;
    for (let level = bottom - 1; level >= depth; level--) {
      const below = this.#best[level + 1]!;
      this.#best[level] = chosen === undefined ? EITHER : meet(below, this.#siblingAction(level, low, high));
    }
  }

  /** The action of the uniform child at `level` of a chain: the left one if the boundaries lie in the right one. */
  #siblingAction(level: number, low: number, high: number): number {
    return actionBefore(this.#bit(low, level) === 1 ? low : high);
  }

  /** Depth of the first node at or under one with these boundaries that holds some in each half, or one between the halves. */
  #partingDepth(low: number, high: number): number {
    const between = this.#lowestBit(low);
    const first = low * this.#width;
    const last = (high - 1) * this.#width;
    for (let i = 0; i < this.#width; i++) {
      const difference = this.#boundaries[first + i]! ^ this.#boundaries[last + i]!;
      if (difference !== 0) return Math.min(between, 32 * i + Math.clz32(difference));
    }
    return between;
  }

  /** The lower half of a node of `depth` bits holds low..split-1, the upper right..high-1; one may lie between the halves. */
  part(depth: number, low: number, high: number): { split: number; right: number } {
    let split = low;
    for (let end = high; split < end; ) {
      const middle = (split + end) >>> 1;
      if (this.#bit(middle, depth) === 1) end = middle;
      else split = middle + 1;
    }
    return { split, right: split < high && this.#lowestBit(split) === depth ? split + 1 : split };
  }

  #bit(index: number, position: number): 0 | 1 {
    const word = this.#boundaries[index * this.#width + (position >>> 5)]!;
    return word << (position & 31) < 0 ? 1 : 0;
  }

  /** Position of a boundary's last bit that is set; -1 for address zero. */
  #lowestBit(index: number): number {
    for (let i = this.#width - 1; i >= 0; i--) {
      const word = this.#boundaries[index * this.#width + i]!;
      if (word !== 0) return 32 * i + Math.clz32(word & -word);
    }
    return -1;
  }

  #add(depth: number, action: number, near: number, side: number): void {
    const start = near * this.#width;
    const words = this.#boundaries.slice(start, start + this.#width);
    const last = depth - 1;
    if (depth > 0 && this.#bit(near, last) !== side) words[last >>> 5]! ^= 1 << (31 - (last & 31));
    this.entries.push({ cidr: makeCidr(this.#family, words.map(unsigned), depth), match: action === MATCH });
  }
}

/** The actions best for a prefix whose halves have these: those both have, or else all, one entry being due below either way. */
function meet(left: number, right: number): number {
  return (left & right) === 0 ? left | right : left & right;
}

/** The action for the addresses just before boundary `index`. */
function actionBefore(index: number): number {
  return index & 1 ? MATCH : NOMATCH;
}

function unsigned(word: number): number {
  return word >>> 0;
}
