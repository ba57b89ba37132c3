/** Ports of one namespace's local pods by name, as sets: the pods' own number for each name that ingress rules ask for (S-40). */
import type { Change } from '../core/versioned-map.ts';
import type { AddressPortSet } from './intent.ts';
import type { EndpointPorts } from './program-compiler.ts';
import type { NamespaceProgram } from './program-pool.ts';
import type { Local } from './selected.ts';

import { JournaledMap } from '../core/versioned-map.ts';
import { FAMILIES, type Family } from '../core/vocabulary.ts';
import { familyOf } from '../net/ip.ts';
import { matches } from '../policy/selector.ts';
import { addressPortEntries, portNames } from './peer-sets.ts';

interface PortSet {
  readonly asked: EndpointPorts;
  readonly family: Family;
  readonly members: JournaledMap<string, boolean>;
  /** How many programs ask for it. */
  uses: number;
  value: AddressPortSet | undefined;
}

export class LocalPorts {
  readonly #sets = new Map<string, PortSet>();

  /**
   * Follows programs that are others now, and pods: `locals` undefined: any of `all` may be another. No two pods of `all` have the same address.
   * Result: the sets that are others, by key; undefined: gone.
   */
  follow(
    programs: readonly Change<string, NamespaceProgram>[],
    locals: readonly Change<string, Local>[] | undefined,
    all: () => Iterable<Local>,
  ): ReadonlyMap<string, AddressPortSet | undefined> {
    const touched = new Set<string>();
    for (const { before, after } of programs) {
      if (before?.compiled === after?.compiled) continue;
      for (const asked of after?.compiled?.endpointPorts ?? []) this.#use(asked, touched);
      for (const asked of before?.compiled?.endpointPorts ?? []) this.#release(asked, touched);
    }
    for (const [key, set] of this.#sets) {
      if (!set.value || !locals) refill(set, all());
      else if (locals.length === 0) continue;
      else for (const change of locals) follow(set, change);
      touched.add(key);
    }
    return new Map([...touched].flatMap((key) => this.#refreshed(key)));
  }

  #use(asked: EndpointPorts, touched: Set<string>): void {
    for (const family of FAMILIES) {
      const key = asked.keys[family];
      const known = this.#sets.get(key);
      if (known) known.uses++;
      else this.#sets.set(key, { asked, family, members: new JournaledMap(), uses: 1, value: undefined });
      touched.add(key);
    }
  }

  #release(asked: EndpointPorts, touched: Set<string>): void {
    for (const family of FAMILIES) {
      const key = asked.keys[family];
      const known = this.#sets.get(key)!;
      if (--known.uses > 0) continue;
      this.#sets.delete(key);
      touched.add(key);
    }
  }

  #refreshed(key: string): readonly (readonly [string, AddressPortSet | undefined])[] {
    const set = this.#sets.get(key);
    if (!set) return [[key, undefined]];
    const members = set.members.snapshot();
    if (set.value?.members === members) return [];
    set.value = { key, family: set.family, holds: 'addresses', members };
    return [[key, set.value]];
  }
}

function refill(set: PortSet, locals: Iterable<Local>): void {
  const wanted = new Set<string>();
  for (const local of locals) for (const entry of entriesOf(set, local)) wanted.add(entry);
  for (const entry of [...set.members.snapshot().keys()]) if (!wanted.has(entry)) set.members.set(entry, undefined);
  for (const entry of wanted) set.members.set(entry, true);
}

function follow(set: PortSet, { before, after }: Change<string, Local>): void {
  const wanted = new Set(after ? entriesOf(set, after) : []);
  for (const entry of before ? entriesOf(set, before) : []) if (!wanted.has(entry)) set.members.set(entry, undefined);
  for (const entry of wanted) set.members.set(entry, true);
}

function entriesOf({ asked, family }: PortSet, { pod, addresses }: Local): readonly string[] {
  if (!matches(asked.policy.podSelector, pod.labels)) return [];
  const known = portNames(asked.names);
  return [...addresses].flatMap((address) =>
    familyOf(address) === family ? addressPortEntries(address, pod, known) : [],
  );
}
