/**
 * Sets of addresses as prefixes: the smallest longest-prefix-match table, and the fewest disjoint prefixes.
 *
 * Source: Draves, King, Venkatachary, Zill, "Constructing Optimal IP Routing Tables" (ORTC), INFOCOM 1999, with two actions.
 * The set is seen as the binary trie of prefixes that membership changes inside of, with its uniform prefixes as leaves. Of that
 * trie only the nodes where boundaries part are visited; the levels between two of them are a chain with one uniform sibling a
 * level, and cost a few bit operations each. Recursion is as deep as an address is long.
 */
import type { Boundaries } from './boundaries.ts';
import { type Cidr, makeCidr, moveOn } from './cidr.ts';
import type { Family } from '../core/vocabulary.ts';
import { ADDRESS_WORDS, wordsAt } from './ip.ts';

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

/**
 * The fewest disjoint prefixes that hold exactly the set, ascending. The whole family is one `/0`. From the start of each range the
 * widest prefix that neither begins before it nor reaches beyond the range, then the same from where that one ends.
 */
export function cidrsOf(family: Family, boundaries: Boundaries): readonly Cidr[] {
  const width = ADDRESS_WORDS[family];
  const cidrs: Cidr[] = [];
  const here = new Uint32Array(width);
  for (let start = 0; start < boundaries.length; start += 2 * width) {
    const end = start + width;
    for (let k = 0; k < width; k++) here[k] = boundaries[start + k]!;
    let prefixLength: number;
    do {
      const parting = end < boundaries.length ? firstDifference(boundaries, end, here, 0, width) : -1;
      if (parting < 0 && end < boundaries.length) break;
      prefixLength = 1 + Math.max(lastBitOf(here, 0, width), parting);
      cidrs.push({ family, words: wordsAt(here, 0, width), prefixLength });
    } while (moveOn(here, 0, prefixLength));
  }
  return cidrs;
}

/** Position of the last bit set in the address at `at`; -1 for address zero. */
function lastBitOf(words: Uint32Array, at: number, width: number): number {
  for (let k = width - 1; k >= 0; k--) {
    const word = words[at + k]!;
    if (word !== 0) return 32 * k + Math.clz32(word & -word);
  }
  return -1;
}

/** Position of the first bit in which two addresses differ; -1 if they do not. */
function firstDifference(a: Uint32Array, i: number, b: Uint32Array, j: number, width: number): number {
  for (let k = 0; k < width; k++) {
    const difference = a[i + k]! ^ b[j + k]!;
    if (difference !== 0) return 32 * k + Math.clz32(difference);
  }
  return -1;
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
  /** Best actions of the parting nodes, in the order of visit. */
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
    this.root = { low: high > 0 && lastBitOf(boundaries, 0, this.#width) < 0 ? 1 : 0, high };
  }

  /** Finds the best actions of the parting nodes at and under a node; returns those of the node. */
  choose(depth: number, low: number, high: number): number {
    if (low === high) return actionBefore(low);
    const bottom = this.#partingDepth(low, high);
    const { split, right } = this.part(bottom, low, high);
    const slot = this.#choices.push(EITHER) - 1;
    let best = meet(this.choose(bottom + 1, low, split), this.choose(bottom + 1, right, high));
    this.#choices[slot] = best;
    const top = isUniform(low, high) ? Math.max(depth, bottom - 2) : depth;
    for (let level = bottom - 1; level >= top; level--) best = meet(best, this.#siblingAction(level, low, high));
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
    if (isUniform(low, high) && depth < bottom - 1) {
      const best = actionBefore(low);
      if (best !== action) this.#add(depth, best, low, this.#bit(low, depth - 1));
      this.write(bottom, low, high, best, near, side);
      return;
    }
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
    this.#best[bottom] = this.#choices[this.#visited++]!;
    for (let level = bottom - 1; level >= depth; level--) {
      this.#best[level] = meet(this.#best[level + 1]!, this.#siblingAction(level, low, high));
    }
  }

  /** The action of the uniform child at `level` of a chain: the left one if the boundaries lie in the right one. */
  #siblingAction(level: number, low: number, high: number): number {
    return actionBefore(this.#bit(low, level) === 1 ? low : high);
  }

  /** Depth of the first node at or under one with these boundaries that holds some in each half, or one between the halves. */
  #partingDepth(low: number, high: number): number {
    const [boundaries, width] = [this.#boundaries, this.#width];
    const between = lastBitOf(boundaries, low * width, width);
    const parting = firstDifference(boundaries, low * width, boundaries, (high - 1) * width, width);
    return parting < 0 ? between : Math.min(between, parting);
  }

  /** The lower half of a node of `depth` bits holds low..split-1, the upper right..high-1; one may lie between the halves. */
  part(depth: number, low: number, high: number): { split: number; right: number } {
    let split = low;
    for (let end = high; split < end; ) {
      const middle = (split + end) >>> 1;
      if (this.#bit(middle, depth) === 1) end = middle;
      else split = middle + 1;
    }
    return {
      split,
      right:
        split < high && lastBitOf(this.#boundaries, split * this.#width, this.#width) === depth ? split + 1 : split,
    };
  }

  #bit(index: number, position: number): 0 | 1 {
    const word = this.#boundaries[index * this.#width + (position >>> 5)]!;
    return word << (position & 31) < 0 ? 1 : 0;
  }

  #add(depth: number, action: number, near: number, side: number): void {
    const words = wordsAt(this.#boundaries, near * this.#width, this.#width);
    const last = depth - 1;
    if (this.#bit(near, last) !== side) {
      const index = last >>> 5;
      words[index] = (words[index]! ^ (1 << (31 - (last & 31)))) >>> 0;
    }
    this.entries.push({ cidr: makeCidr(this.#family, words, depth), match: action === MATCH });
  }
}

/**
 * Whether the siblings along the chain to the parting node of these boundaries are all alike. Then from two levels above that node
 * on their action is the only best one (`meet` yields it the second time, whatever is best below, and ever after), and once it is
 * in force, nothing on the chain needs an entry.
 */
function isUniform(low: number, high: number): boolean {
  return actionBefore(low) === actionBefore(high);
}

/** The actions best for a prefix whose halves have these: those both have, or else all, one entry being due below either way. */
function meet(left: number, right: number): number {
  return (left & right) === 0 ? left | right : left & right;
}

/** The action for the addresses just before boundary `index`. */
function actionBefore(index: number): number {
  return index & 1 ? MATCH : NOMATCH;
}
