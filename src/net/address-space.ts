/** Exact sets of addresses of one family: what ipBlocks allow, and algebra on it. */
import { type Boundaries, boundariesOf, combine, countUpTo } from './boundaries.ts';
import { type Cidr, formatNetMember, lastWords, wholeFamily } from './cidr.ts';
import type { Family } from '../core/vocabulary.ts';
import { ADDRESS_WORDS, type Address, formatWords } from './ip.ts';
import { type PrefixEntry, cidrsOf, prefixTableOf } from './prefix-table.ts';

/** The addresses in `cidr` and in none of its own `except` (S-28). */
export interface AddressBlock {
  readonly cidr: Cidr;
  readonly except: readonly Cidr[];
}

/** Immutable. Operations on two sets want one family and throw otherwise (caller's bug). */
export class AddressSpace {
  readonly family: Family;
  readonly #boundaries: Boundaries;

  private constructor(family: Family, boundaries: Boundaries) {
    this.family = family;
    this.#boundaries = boundaries;
  }

  static empty(family: Family): AddressSpace {
    return new AddressSpace(family, new Uint32Array(0));
  }

  static full(family: Family): AddressSpace {
    return AddressSpace.fromCidrs(family, [wholeFamily(family)]);
  }

  /**
   * The union of the blocks, each without its own excepts: what one block excepts, another may hold (S-28). Blocks and excepts of
   * the other family count for nothing (S-29), nor do excepts outside of their block.
   */
  static fromBlocks(family: Family, blocks: readonly AddressBlock[]): AddressSpace {
    const own = blocks.filter(({ cidr }) => cidr.family === family);
    const whole = own.filter(({ except }) => except.length === 0);
    const cut = own.filter(({ except }) => except.length > 0);
    return unionOfAll(family, [
      AddressSpace.fromCidrs(
        family,
        whole.map(({ cidr }) => cidr),
      ),
      ...cut.map(({ cidr, except }) =>
        AddressSpace.fromCidrs(family, [cidr]).difference(AddressSpace.fromCidrs(family, except)),
      ),
    ]);
  }

  /** The union of those of `cidrs` that are of the family. */
  static fromCidrs(family: Family, cidrs: readonly Cidr[]): AddressSpace {
    return new AddressSpace(family, boundariesOf(family, cidrs));
  }

  /** Never holds an address of the other family. */
  contains(address: Address): boolean {
    return address.family === this.family && countUpTo(this.#boundaries, address.words) % 2 === 1;
  }

  isEmpty(): boolean {
    return this.#boundaries.length === 0;
  }

  isFull(): boolean {
    return this.#boundaries.length === ADDRESS_WORDS[this.family] && this.#boundaries.every((word) => word === 0);
  }

  equals(other: AddressSpace): boolean {
    const theirs = other.#boundaries;
    return (
      this.family === other.family &&
      this.#boundaries.length === theirs.length &&
      this.#boundaries.every((word, i) => word === theirs[i])
    );
  }

  union(other: AddressSpace): AddressSpace {
    return this.#combine(other, (inThis, inOther) => inThis || inOther);
  }

  intersection(other: AddressSpace): AddressSpace {
    return this.#combine(other, (inThis, inOther) => inThis && inOther);
  }

  difference(other: AddressSpace): AddressSpace {
    return this.#combine(other, (inThis, inOther) => inThis && !inOther);
  }

  complement(): AddressSpace {
    return AddressSpace.full(this.family).difference(this);
  }

  #combine(other: AddressSpace, op: (inThis: boolean, inOther: boolean) => boolean): AddressSpace {
    if (this.family !== other.family) throw new TypeError(`address sets of IPv${this.family} and IPv${other.family}`);
    return new AddressSpace(this.family, combine(this.#boundaries, other.#boundaries, ADDRESS_WORDS[this.family], op));
  }

  /** The smallest longest-prefix-match table, for ipset's hash:net; see `prefixTableOf`. */
  toPrefixTable(): readonly PrefixEntry[] {
    return prefixTableOf(this.family, this.#boundaries);
  }

  /** The fewest disjoint prefixes, ascending; the whole family is one `/0`. */
  toCidrs(): readonly Cidr[] {
    return cidrsOf(this.family, this.#boundaries);
  }

  /** Disjoint ranges that do not touch, ascending: `10.0.0.0/8` where one prefix is all of it, else `10.0.0.0-10.0.0.5`. */
  toRanges(): readonly string[] {
    const ranges: string[] = [];
    const width = ADDRESS_WORDS[this.family];
    const lists = this.#boundaries;
    for (let at = 0; at < lists.length; at += 2 * width) {
      const range = new AddressSpace(this.family, lists.slice(at, at + 2 * width)).toCidrs();
      const [first, last] = [range[0]!, range.at(-1)!];
      const isPrefix = range.length === 1;
      ranges.push(isPrefix ? formatNetMember(first) : `${formatWords(first.words)}-${formatWords(lastWords(last))}`);
    }
    return ranges;
  }
}

/** In pairs, then pairs of pairs: each boundary is copied once a round. */
function unionOfAll(family: Family, spaces: readonly AddressSpace[]): AddressSpace {
  if (spaces.length < 2) return spaces[0] ?? AddressSpace.empty(family);
  const middle = spaces.length >>> 1;
  return unionOfAll(family, spaces.slice(0, middle)).union(unionOfAll(family, spaces.slice(middle)));
}
