/** Sets of the addresses of nodes that rules select (N-44). */
import type { Family } from '../../core/vocabulary.ts';
import type { LabelledNode, Selector } from '../../policy/model.ts';
import type { AddressSet } from '../intent.ts';

import { FAMILIES } from '../../core/vocabulary.ts';
import { JournaledMap } from '../../core/versioned-map.ts';
import { familyOf } from '../../net/ip.ts';
import { certainty, selectorKey } from '../../policy/selector.ts';

export function nodeSetKeys(selectors: readonly Selector[]): Readonly<Record<Family, string>> {
  const all = [...new Set(selectors.map(selectorKey))].sort();
  return { 4: JSON.stringify(['nodes', 4, all]), 6: JSON.stringify(['nodes', 6, all]) };
}

interface NodeSet {
  readonly selectors: readonly Selector[];
  readonly family: Family;
  readonly members: JournaledMap<string, boolean>;
  value: AddressSet;
}

export class NodeSets {
  readonly #nodes = new Map<string, LabelledNode>();
  readonly #sets = new Map<string, NodeSet>();

  /** Returns whether any set changed. */
  node(name: string, node: LabelledNode | undefined): boolean {
    if (node) this.#nodes.set(name, node);
    else this.#nodes.delete(name);
    return [...this.#sets].map(([key, set]) => this.#refresh(key, set)).includes(true);
  }

  /** The sets there are to be, by key. */
  keep(wanted: ReadonlyMap<string, readonly Selector[]>): ReadonlyMap<string, AddressSet> {
    for (const key of this.#sets.keys()) if (!wanted.has(key)) this.#sets.delete(key);
    for (const [key, selectors] of wanted) if (!this.#sets.has(key)) this.#add(key, selectors);
    return new Map([...this.#sets].map(([key, { value }]) => [key, value]));
  }

  #add(key: string, selectors: readonly Selector[]): void {
    const family = FAMILIES.find((each) => nodeSetKeys(selectors)[each] === key)!;
    const members = new JournaledMap<string, boolean>();
    const set = { selectors, family, members, value: setOf(key, family, members) };
    this.#refresh(key, set);
    members.dropHistory();
    set.value = setOf(key, family, members);
    this.#sets.set(key, set);
  }

  #refresh(key: string, set: NodeSet): boolean {
    const { selectors, family, members } = set;
    const wanted = new Set(
      [...this.#nodes.values()]
        .filter(({ labels }) => selectors.some((selector) => certainty(selector, labels) === 'yes'))
        .flatMap(({ addresses }) => addresses.filter((address) => familyOf(address) === family)),
    );
    let changed = false;
    for (const member of [...members.snapshot().keys()])
      if (!wanted.has(member)) changed = members.set(member, undefined) || changed;
    for (const member of wanted) changed = members.set(member, true) || changed;
    if (changed) set.value = setOf(key, family, members);
    return changed;
  }
}

function setOf(key: string, family: Family, members: JournaledMap<string, boolean>): AddressSet {
  return { key, family, kind: 'nodes', members: members.snapshot() };
}
