/** The sets of an intent as the kernel has them, and which of them rules speak of: followed change by change, without a look at the others. */
import type { AddressPortSet, AddressSet, NodeIntent } from '../../../compile/intent.ts';
import type { VersionedMap } from '../../../core/versioned-map.ts';
import type { Sliced } from '../../../core/sliced.ts';
import type { IpSet } from '../rules/rule.ts';
import type { EndpointChain, Ruleset } from '../rules/ruleset.ts';

import { FAMILIES } from '../../../core/vocabulary.ts';
import { versionedMap } from '../../../core/versioned-map.ts';
import { SetUses } from '../../../compile/set-uses.ts';
import { setName } from '../rules/names.ts';

/** By what each means. */
export type RenderedSets = VersionedMap<string, IpSet>;

type SetsOfIntent = Pick<NodeIntent, 'addressSets' | 'addressPortSets'>;

/** `last`: what `known` was made from. */
export function* renderSets(
  last: SetsOfIntent | undefined,
  { addressSets, addressPortSets }: SetsOfIntent,
  known: RenderedSets,
): Sliced<RenderedSets> {
  const updates = new Map<string, IpSet | undefined>();
  const changes = [
    addressSets.changesSince(last?.addressSets.version),
    addressPortSets.changesSince(last?.addressPortSets.version),
  ];
  if (changes.includes('all'))
    for (const key of known.keys()) if (!addressSets.has(key) && !addressPortSets.has(key)) updates.set(key, undefined);
  for (const [at, sets] of [addressSets, addressPortSets].entries()) {
    const changed = changes[at]!;
    const all = changed === 'all' ? [...sets].map(([key, after]) => ({ key, after })) : changed;
    for (const { key, after } of all) {
      const before = known.get(key);
      if (after && before?.members === after.members) continue;
      updates.set(key, after && renderSet(after, before?.name));
      yield;
    }
  }
  return known.with(updates);
}

function renderSet(from: AddressSet | AddressPortSet, name: string | undefined): IpSet {
  const holdsAddresses = ('kind' in from ? from.kind : from.holds) === 'addresses';
  const type =
    'kind' in from ? (holdsAddresses ? 'hash:ip' : 'hash:net') : holdsAddresses ? 'hash:ip,port' : 'hash:net,port';
  const { family, members, key: meaning } = from;
  const isOfNodes = 'kind' in from && from.kind === 'nodes';
  return {
    name: name ?? setName(family, meaning),
    family,
    type,
    members,
    meaning,
    ...(isOfNodes ? { isOfNodes } : {}),
  };
}

/** The sets that rules speak of: one that no rule does (the family's rules may not need it) is not made. */
export class UsedSets {
  readonly #uses = new SetUses();
  #rendered: RenderedSets = versionedMap();
  #families: Ruleset['families'] | undefined;
  #chains: readonly EndpointChain[] = [];
  #byName: VersionedMap<string, IpSet> = versionedMap();

  /** Versions of one history. `gates`: sets that rules outside of the endpoint chains speak of. */
  update(rendered: RenderedSets, families: Ruleset['families'], gates: readonly IpSet[]): VersionedMap<string, IpSet> {
    const changes = rendered.changesSince(this.#rendered.version);
    const changed = changes === 'all' ? [...rendered.values()] : changes.flatMap(({ after }) => after ?? []);
    const updates = new Map(changed.map((set) => [set.name, set] as const));
    const fresh = this.#follow(families).filter((name) => !updates.has(name));
    const wanted = new Set(fresh);
    if (fresh.length > 0) for (const set of rendered.values()) if (wanted.has(set.name)) updates.set(set.name, set);
    const unused = this.#uses.takeUnused(() => false);
    const used = [...updates.values()].filter(({ name }) => this.#uses.has(name));
    this.#rendered = rendered;
    const there = [...used, ...gates].map((set) => [set.name, set] as const);
    this.#byName = this.#byName.with([...unused.map((name) => [name, undefined] as const), ...there]);
    return this.#byName;
  }

  /** Names of sets that no rule spoke of before. */
  #follow(families: Ruleset['families']): readonly string[] {
    if (families === this.#families) return [];
    this.#families = families;
    const chains = FAMILIES.flatMap((family) => [...families[family].endpointChains.values()]);
    const [before, after] = [new Set(this.#chains), new Set(chains)];
    const fresh: string[] = [];
    for (const chain of chains) {
      if (before.has(chain)) continue;
      fresh.push(...chain.sets.filter((name) => !this.#uses.has(name)));
      this.#uses.add(chain.sets);
    }
    for (const chain of this.#chains) if (!after.has(chain)) this.#uses.remove(chain.sets);
    this.#chains = chains;
    return fresh;
  }
}
