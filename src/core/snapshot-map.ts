/**
 * A map by text that changes in place, and whose present state can be kept as a value at no cost: a hash trie whose branches are copied
 * when they change after they were kept. Source: Bagwell, "Ideal Hash Trees" (2001), with chains for what hashes alike.
 */

/** A version of a map; it never changes. */
export interface MapVersion<V> {
  readonly size: number;
  get(key: string): V | undefined;
  /** In no order that means anything. */
  values(): Iterable<V>;
}

/** Bits of the hash that one branch decides by. */
const BITS = 5;
const WIDTH = 1 << BITS;
/** Longer chains become branches, until the hash has no more bits. */
const MAX_CHAIN = 8;
const HASH_BITS = 32;

interface Cell<V> {
  readonly key: string;
  readonly value: V;
  readonly next: Cell<V> | undefined;
}

class Branch<V> {
  /** Which `SnapshotMap.#edit` made it: that one may change it, all others copy it. */
  readonly edit: object;
  readonly slots: (Branch<V> | Cell<V> | undefined)[];

  constructor(edit: object, slots: Branch<V>['slots']) {
    this.edit = edit;
    this.slots = slots;
  }
}

type Slot<V> = Branch<V> | Cell<V> | undefined;

export class SnapshotMap<V> implements MapVersion<V> {
  #root: Slot<V>;
  #size = 0;
  #edit: object = {};
  #version: MapVersion<V> | undefined;

  get size(): number {
    return this.#size;
  }

  get(key: string): V | undefined {
    return find(this.#root, key, hashOf(key));
  }

  values(): Iterable<V> {
    return valuesOf(this.#root);
  }

  /** `value` undefined: no entry. Costs what the depth costs, the logarithm of the size by 32. */
  set(key: string, value: V | undefined): void {
    const hash = hashOf(key);
    const before = find(this.#root, key, hash);
    if (before === value) return;
    this.#root = this.#changed(this.#root, key, hash, 0, value);
    this.#size += (value === undefined ? 0 : 1) - (before === undefined ? 0 : 1);
    this.#version = undefined;
  }

  /** The map as of now; the same object until something changes. */
  snapshot(): MapVersion<V> {
    if (this.#version) return this.#version;
    const [root, size] = [this.#root, this.#size];
    this.#edit = {};
    this.#version = new Version(root, size);
    return this.#version;
  }

  /** Branches in use, by counting them. */
  countBranches(): number {
    return countBranches(this.#root);
  }

  #changed(slot: Slot<V>, key: string, hash: number, depth: number, value: V | undefined): Slot<V> {
    if (!(slot instanceof Branch)) {
      const rest = without(slot, key);
      if (value === undefined) return rest;
      const chain = { key, value, next: rest };
      return depth < HASH_BITS && isLong(chain) ? this.#spread(chain, depth) : chain;
    }
    const index = indexAt(hash, depth);
    const child = this.#changed(slot.slots[index], key, hash, depth + BITS, value);
    const branch = slot.edit === this.#edit ? slot : new Branch(this.#edit, slot.slots.slice());
    branch.slots[index] = child;
    return child === undefined && branch.slots.every((each) => each === undefined) ? undefined : branch;
  }

  #spread(chain: Cell<V>, depth: number): Branch<V> {
    const branch = new Branch<V>(this.#edit, new Array<Slot<V>>(WIDTH).fill(undefined));
    for (let cell: Cell<V> | undefined = chain; cell; cell = cell.next) {
      const { key, value } = cell;
      const hash = hashOf(key);
      const index = indexAt(hash, depth);
      branch.slots[index] = this.#changed(branch.slots[index], key, hash, depth + BITS, value);
    }
    return branch;
  }
}

function countBranches<V>(slot: Slot<V>): number {
  if (!(slot instanceof Branch)) return 0;
  return slot.slots.reduce((sum, each) => sum + countBranches(each), 1);
}

class Version<V> implements MapVersion<V> {
  readonly #root: Slot<V>;
  readonly size: number;

  constructor(root: Slot<V>, size: number) {
    this.#root = root;
    this.size = size;
  }

  get(key: string): V | undefined {
    return find(this.#root, key, hashOf(key));
  }

  values(): Iterable<V> {
    return valuesOf(this.#root);
  }
}

function* valuesOf<V>(slot: Slot<V>): Iterable<V> {
  if (slot instanceof Branch) for (const each of slot.slots) yield* valuesOf(each);
  else for (let cell = slot; cell; cell = cell.next) yield cell.value;
}

function find<V>(root: Slot<V>, key: string, hash: number): V | undefined {
  let slot = root;
  for (let depth = 0; slot instanceof Branch; depth += BITS) slot = slot.slots[indexAt(hash, depth)];
  for (let cell = slot; cell; cell = cell.next) if (cell.key === key) return cell.value;
  return undefined;
}

/** The chain without the entry; what comes behind it is shared. */
function without<V>(chain: Cell<V> | undefined, key: string): Cell<V> | undefined {
  if (chain === undefined || !has(chain, key)) return chain;
  return chain.key === key ? chain.next : { key: chain.key, value: chain.value, next: without(chain.next, key) };
}

function has<V>(chain: Cell<V>, key: string): boolean {
  for (let cell: Cell<V> | undefined = chain; cell; cell = cell.next) if (cell.key === key) return true;
  return false;
}

function isLong<V>(chain: Cell<V>): boolean {
  let length = 0;
  for (let cell: Cell<V> | undefined = chain; cell; cell = cell.next) length++;
  return length > MAX_CHAIN;
}

/** Below the last bits nothing parts keys: they stay in one chain. */
function indexAt(hash: number, depth: number): number {
  return (hash >>> depth) & (WIDTH - 1);
}

/** FNV-1a over UTF-16 units, its high bits mixed into the low ones, which decide first. */
function hashOf(key: string): number {
  let hash = 0x811c9dc5;
  for (let index = 0; index < key.length; index++) hash = Math.imul(hash ^ key.charCodeAt(index), 0x01000193);
  hash ^= hash >>> 15;
  hash = Math.imul(hash, 0x2c1b3c6d);
  return hash ^ (hash >>> 13);
}
