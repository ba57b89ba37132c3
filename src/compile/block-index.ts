/** Blocks by address: whatever names a block that holds an address is found by one walk, however many blocks there are. */
import type { Family } from '../core/vocabulary.ts';
import type { AddressSpace } from '../net/address-space.ts';

import { CidrTrie } from '../net/cidr-trie.ts';
import { familyOf, parseAddress } from '../net/ip.ts';

const NOBODY: readonly never[] = [];

export class BlockIndex<T> {
  readonly #tries = { 4: new CidrTrie<Set<T>>(4), 6: new CidrTrie<Set<T>>(6) } satisfies Record<Family, unknown>;

  /** `owner` names the addresses of `space`. */
  add(space: AddressSpace, owner: T): void {
    const trie = this.#tries[space.family];
    for (const cidr of space.toCidrs()) {
      const owners = trie.get(cidr);
      if (owners) owners.add(owner);
      else trie.insert(cidr, new Set([owner]));
    }
  }

  /** `space` as it was added. */
  remove(space: AddressSpace, owner: T): void {
    const trie = this.#tries[space.family];
    for (const cidr of space.toCidrs()) {
      const owners = trie.get(cidr);
      owners?.delete(owner);
      if (owners?.size === 0) trie.remove(cidr);
    }
  }

  /** Each that names the address (canonical text), once: the blocks of one owner are disjoint. */
  ownersOf(address: string): readonly T[] {
    const trie = this.#tries[familyOf(address)];
    if (trie.size === 0) return NOBODY;
    const parsed = parseAddress(address);
    return parsed ? trie.covering(parsed.words).flatMap(({ value }) => [...value]) : NOBODY;
  }
}
