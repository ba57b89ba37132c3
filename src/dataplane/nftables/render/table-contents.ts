/** The table as rendered, kept by counts: what nobody brings any more is found without a look at what all others bring. */
import type { Rule } from '../table/rule.ts';
import type { Chain, NftSet, Table } from '../table/table.ts';
import type { Brought } from './brought.ts';
import type { EndpointChain } from './endpoint-chains.ts';

import { SetUses } from '../../../compile/set-uses.ts';
import { JournaledMap } from '../../../core/versioned-map.ts';
import { isSameChain } from '../table/table.ts';
import { chainsOf } from './endpoint-chains.ts';
import { evolved } from './peer-sets.ts';

interface Use {
  readonly endpoint: EndpointChain;
  count: number;
}

type Own = Omit<NftSet, 'elements'>;

export class TableContents {
  readonly #chains = new JournaledMap<string, Chain>();
  readonly #sets = new JournaledMap<string, NftSet>();
  #entry: ReadonlySet<string> = new Set();
  #own: ReadonlyMap<string, Own> = new Map();
  readonly #elements = new Map<string, JournaledMap<string, true | string>>();
  /** By name. */
  readonly #uses = new Map<string, Use>();
  readonly #asked = new SetUses();
  readonly #stopping = new SetUses();
  #programmed: readonly NftSet[] = [];

  get stopping(): Pick<ReadonlySet<string>, 'has'> {
    return this.#stopping;
  }

  get judgingCount(): number {
    return this.#uses.size;
  }

  isUsed(endpointChain: string): boolean {
    return this.#uses.has(endpointChain);
  }

  table(): Table {
    return { chains: this.#chains.snapshot(), sets: this.#sets.snapshot() };
  }

  /** The chains ahead of those that judge pods, and the sets that pods fill. */
  setEntry(chains: readonly Chain[], own: readonly Own[]): void {
    const names = new Set(chains.map(({ name }) => name));
    for (const name of this.#entry) if (!names.has(name)) this.#chains.set(name, undefined);
    for (const chain of chains) this.#putChain(chain);
    this.#entry = names;
    const wanted = new Map(own.map((set) => [set.name, set]));
    for (const name of this.#own.keys()) {
      if (wanted.has(name)) continue;
      this.#sets.set(name, undefined);
      this.#elements.delete(name);
    }
    this.#own = wanted;
    for (const { name } of this.#programmed) this.#sets.set(name, undefined);
    this.#programmed = [];
  }

  setProgrammed(sets: readonly NftSet[]): void {
    for (const set of sets) {
      const known = this.#sets.get(set.name);
      const elements = evolved(known?.elements, set.elements);
      if (known?.elements !== elements) this.#sets.set(set.name, { ...set, elements });
    }
    this.#programmed = sets;
  }

  apply(leaving: readonly Brought[], joining: readonly Brought[], peerSet: (name: string) => NftSet | undefined): void {
    const fresh: string[] = [];
    for (const { chains } of joining) for (const chain of chains) this.#use(chain, fresh);
    for (const { chains } of leaving) for (const chain of chains) this.#release(chain);
    for (const name of fresh) {
      if (!this.#own.has(name) && this.#asked.has(name)) this.#putSet(peerSet(name));
    }
    for (const name of this.#asked.takeUnused(() => false)) if (!this.#own.has(name)) this.#sets.set(name, undefined);
    // In this order, as an address may go from one pod to another.
    for (const { elements } of leaving)
      for (const [set, of] of elements)
        for (const element of of.keys()) this.#elements.get(set)?.set(element, undefined);
    for (const { elements } of joining)
      for (const [set, of] of elements) for (const [element, value] of of) this.#elementsOf(set).set(element, value);
    for (const [name, own] of this.#own) {
      const elements = this.#elementsOf(name).snapshot();
      if (this.#sets.get(name)?.elements !== elements) this.#sets.set(name, { ...own, elements });
    }
  }

  /** Of sets of peers that rules ask about. */
  peersChanged(changed: readonly NftSet[], gone: readonly string[]): void {
    for (const name of gone) if (!this.#own.has(name)) this.#sets.set(name, undefined);
    for (const set of changed) if (this.#asked.has(set.name)) this.#sets.set(set.name, set);
  }

  /** All that rules ask about; not only what changed. */
  putPeers(peerSet: (name: string) => NftSet | undefined): void {
    for (const { endpoint } of this.#uses.values())
      for (const name of setsIn(chainsOf(endpoint))) if (!this.#own.has(name)) this.#putSet(peerSet(name));
  }

  #putSet(set: NftSet | undefined): void {
    if (set && this.#sets.get(set.name) !== set) this.#sets.set(set.name, set);
  }

  #elementsOf(set: string): JournaledMap<string, true | string> {
    let elements = this.#elements.get(set);
    if (!elements) {
      elements = new JournaledMap();
      this.#elements.set(set, elements);
    }
    return elements;
  }

  #putChain(chain: Chain): void {
    if (!isSameChain(chain, this.#chains.get(chain.name))) this.#chains.set(chain.name, chain);
  }

  #use(endpoint: EndpointChain, fresh: string[]): void {
    const use = this.#uses.get(endpoint.chain.name);
    if (use) {
      use.count++;
      return;
    }
    this.#uses.set(endpoint.chain.name, { endpoint, count: 1 });
    const chains = chainsOf(endpoint);
    for (const chain of chains) this.#putChain(chain);
    const asked = setsIn(chains);
    for (const name of asked) if (!this.#asked.has(name)) fresh.push(name);
    this.#asked.add(asked);
    this.#stopping.add(stoppingIn(chains));
  }

  #release({ chain: { name } }: EndpointChain): void {
    const use = this.#uses.get(name)!;
    if (--use.count > 0) return;
    this.#uses.delete(name);
    const chains = chainsOf(use.endpoint);
    for (const chain of chains) this.#chains.set(chain.name, undefined);
    this.#asked.remove(setsIn(chains));
    this.#stopping.remove(stoppingIn(chains));
  }
}

/** Names of the sets that rules ask about. */
export function setsIn(chains: readonly Chain[], isMeant: (rule: Rule) => boolean = () => true): ReadonlySet<string> {
  const found = new Set<string>();
  for (const { rules = [] } of chains)
    for (const rule of rules) {
      if (!isMeant(rule)) continue;
      for (const match of rule.matches) if ('set' in match) found.add(match.set);
    }
  return found;
}

function stoppingIn(chains: readonly Chain[]): ReadonlySet<string> {
  return setsIn(chains, ({ by, target }) => by !== undefined && target.kind === 'goto');
}
