/** Prefixes of one family with a value each, found by address: the longest prefix that holds it. */
import { type Cidr, formatCidr } from './cidr.ts';
import type { Family } from '../core/vocabulary.ts';
import { ADDRESS_BITS } from './ip.ts';

export interface CidrTrieEntry<V> {
  readonly cidr: Cidr;
  readonly value: V;
}

/**
 * A path-compressed binary trie: a node is a prefix that is stored, or where stored ones part; so there are fewer than two nodes an
 * entry. Nodes are plain objects on the V8 heap: memory outside of it would make starting processes slower.
 */
export class CidrTrie<V> {
  readonly family: Family;
  readonly #bits: number;
  #root: Node<V> | undefined;
  #size = 0;

  constructor(family: Family) {
    this.family = family;
    this.#bits = ADDRESS_BITS[family];
  }

  get size(): number {
    return this.#size;
  }

  /** Stores `value` under `cidr`; returns the value it replaces, if any. */
  insert(cidr: Cidr, value: V): V | undefined {
    this.#checkFamily(cidr);
    const entry = { cidr, value };
    let parent: Node<V> | undefined;
    let node = this.#root;
    while (node !== undefined) {
      const common = commonBits(node, cidr);
      if (common < node.length) {
        this.#attach(parent, cidr, fork(node, common, entry));
        this.#size++;
        return undefined;
      }
      if (common === cidr.prefixLength) return this.#replace(node, entry);
      parent = node;
      node = bitAt(cidr.words, common) ? node.right : node.left;
    }
    this.#attach(parent, cidr, nodeOf(cidr.words, cidr.prefixLength, entry));
    this.#size++;
    return undefined;
  }

  #replace(node: Node<V>, entry: CidrTrieEntry<V>): V | undefined {
    const previous = node.entry;
    node.entry = entry;
    if (previous === undefined) this.#size++;
    return previous?.value;
  }

  /** Removes `cidr` itself, not what it covers; returns the value it had, if any. */
  remove(cidr: Cidr): V | undefined {
    this.#checkFamily(cidr);
    let grandparent: Node<V> | undefined;
    let parent: Node<V> | undefined;
    let node = this.#root;
    while (node !== undefined && node.length < cidr.prefixLength) {
      grandparent = parent;
      parent = node;
      node = bitAt(cidr.words, node.length) ? node.right : node.left;
    }
    if (node?.entry === undefined || !isAt(node, cidr)) return undefined;
    const { value } = node.entry;
    node.entry = undefined;
    this.#size--;
    this.#contract(node, parent, cidr);
    if (parent !== undefined) this.#contract(parent, grandparent, cidr);
    return value;
  }

  /** Takes out a node that neither stores anything nor parts two branches; `cidr` lies under `parent`, in the node's direction. */
  #contract(node: Node<V>, parent: Node<V> | undefined, cidr: Cidr): void {
    if (node.entry !== undefined || (node.left !== undefined && node.right !== undefined)) return;
    this.#attach(parent, cidr, node.left ?? node.right);
  }

  #attach(parent: Node<V> | undefined, cidr: Cidr, child: Node<V> | undefined): void {
    if (parent === undefined) this.#root = child;
    else if (bitAt(cidr.words, parent.length)) parent.right = child;
    else parent.left = child;
  }

  /** The value stored under exactly this prefix. */
  get(cidr: Cidr): V | undefined {
    this.#checkFamily(cidr);
    let node = this.#root;
    while (node !== undefined && node.length < cidr.prefixLength) {
      node = bitAt(cidr.words, node.length) ? node.right : node.left;
    }
    return node !== undefined && isAt(node, cidr) ? node.entry?.value : undefined;
  }

  /** The entry with the longest prefix that holds the address `words` of this family. Allocates nothing. */
  lookup(words: readonly number[]): CidrTrieEntry<V> | undefined {
    let word = words[0]! | 0;
    let wordIndex = 0;
    let found: CidrTrieEntry<V> | undefined;
    let node = this.#root;
    while (node !== undefined) {
      // Only stored prefixes are compared: under a wrong turn none would hold the address.
      if (node.entry !== undefined) {
        if (equalBits(node, words) < node.length) return found;
        found = node.entry;
      }
      const { length } = node;
      // There is no bit to go on by.
      if (length === this.#bits) return found;
      if (length >>> 5 !== wordIndex) {
        wordIndex = length >>> 5;
        word = words[wordIndex]! | 0;
      }
      // A shift counts modulo 32: this is the bit at `length`.
      node = word << length < 0 ? node.right : node.left;
    }
    return found;
  }

  /** All entries whose prefixes hold the address `words` of this family, the shortest first. */
  covering(words: readonly number[]): readonly CidrTrieEntry<V>[] {
    const found: CidrTrieEntry<V>[] = [];
    let node = this.#root;
    while (node !== undefined && equalBits(node, words) >= node.length) {
      if (node.entry !== undefined) found.push(node.entry);
      if (node.length === this.#bits) break;
      node = bitAt(words, node.length) ? node.right : node.left;
    }
    return found;
  }

  /** All entries in the order of `compareCidrs`. Insert and remove nothing meanwhile. */
  *[Symbol.iterator](): Generator<CidrTrieEntry<V>, void, undefined> {
    const pending = [this.#root];
    while (pending.length > 0) {
      const node = pending.pop();
      if (node === undefined) continue;
      if (node.entry !== undefined) yield node.entry;
      pending.push(node.right, node.left);
    }
  }

  /** Nodes in use, by counting them: at least `size`, and fewer than twice as many however many entries came and went. */
  countNodes(): number {
    const pending = [this.#root];
    let count = 0;
    while (pending.length > 0) {
      const node = pending.pop();
      if (node === undefined) continue;
      count++;
      pending.push(node.left, node.right);
    }
    return count;
  }

  #checkFamily(cidr: Cidr): void {
    if (cidr.family !== this.family) throw new TypeError(`${formatCidr(cidr)} in a trie of IPv${this.family} prefixes`);
  }
}

/** What a lookup reads comes first, to share a cache line; the words are at hand, not in an array, for the same reason. */
interface Node<V> {
  readonly length: number;
  left: Node<V> | undefined;
  right: Node<V> | undefined;
  entry: CidrTrieEntry<V> | undefined;
  /** The prefix, as int32, which V8 keeps as small integers; bits from `length` on mean nothing. */
  readonly word0: number;
  readonly word1: number;
  readonly word2: number;
  readonly word3: number;
}

function nodeOf<V>(words: readonly number[], length: number, entry: CidrTrieEntry<V> | undefined): Node<V> {
  const [word0, word1 = 0, word2 = 0, word3 = 0] = words;
  return {
    length,
    left: undefined,
    right: undefined,
    entry,
    word0: word0! | 0,
    word1: word1 | 0,
    word2: word2 | 0,
    word3: word3 | 0,
  };
}

/** The node of `common` bits that takes the place of `node` and holds it and the new entry. */
function fork<V>(node: Node<V>, common: number, entry: CidrTrieEntry<V>): Node<V> {
  const { words, prefixLength } = entry.cidr;
  const isHere = prefixLength === common;
  const parent = nodeOf(words, common, isHere ? entry : undefined);
  const added = isHere ? undefined : nodeOf(words, prefixLength, entry);
  if (bitOfNode(node, common)) {
    parent.right = node;
    parent.left = added;
  } else {
    parent.left = node;
    parent.right = added;
  }
  return parent;
}

/** How many leading bits a node and a prefix share, at most the shorter of their lengths. */
function commonBits<V>(node: Node<V>, cidr: Cidr): number {
  return Math.min(equalBits(node, cidr.words), node.length, cidr.prefixLength);
}

/** How many leading bits of an address are those of a node's words; for IPv4 any number from 32 on stands for all. */
function equalBits<V>(node: Node<V>, words: readonly number[]): number {
  let difference = node.word0 ^ words[0]!;
  if (difference !== 0 || words.length === 1) return Math.clz32(difference);
  difference = node.word1 ^ words[1]!;
  if (difference !== 0) return 32 + Math.clz32(difference);
  difference = node.word2 ^ words[2]!;
  if (difference !== 0) return 64 + Math.clz32(difference);
  return 96 + Math.clz32(node.word3 ^ words[3]!);
}

function isAt<V>(node: Node<V>, cidr: Cidr): boolean {
  return node.length === cidr.prefixLength && commonBits(node, cidr) === node.length;
}

function bitAt(words: readonly number[], position: number): boolean {
  return words[position >>> 5]! << (position & 31) < 0;
}

function bitOfNode<V>(node: Node<V>, position: number): boolean {
  return bitAt([node.word0, node.word1, node.word2, node.word3], position);
}
