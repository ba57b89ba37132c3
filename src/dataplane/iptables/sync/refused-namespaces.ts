/**
 * Whose chains and sets the kernel refuses. A namespace of which several are refused is left out of the sync as a whole: finding out the
 * rest one by one would take a read-back each, and everybody else waits for it.
 */
import { FAMILIES, type Family } from '../../../core/vocabulary.ts';
import type { ObservedState, PlanLine } from '../plan/plan.ts';
import type { EndpointChain, Ruleset } from '../rules/ruleset.ts';

import { endpointOf } from '../rules/ruleset.ts';

/** So few are left out alone, however long it takes, so that the namespace's other changes go in. */
const MAX_REFUSED = 3;
/** And as many as are found in this time. */
const MAX_SEARCH_MS = 400;

export class RefusedNamespaces {
  readonly #ruleset: Ruleset;
  readonly #now: () => number;
  #startedMs: number | undefined;
  readonly #counts = new Map<string, number>();
  readonly #leftOut = new Set<string>();

  /** `now`: monotonic milliseconds. */
  constructor(ruleset: Ruleset, now: () => number) {
    this.#ruleset = ruleset;
    this.#now = now;
  }

  /** The kernel refuses it. Returns namespaces that have had enough of that with it. */
  refuse(object: string): readonly string[] {
    const namespaces = new Set(
      endpointChainsOf(this.#ruleset)
        .filter((one) => concerns(one, object))
        .map(namespaceOf),
    );
    this.#startedMs ??= this.#now();
    const isLong = this.#now() - this.#startedMs > MAX_SEARCH_MS;
    return [...namespaces].filter((namespace) => {
      const count = (this.#counts.get(namespace) ?? 0) + 1;
      this.#counts.set(namespace, count);
      if (count < MAX_REFUSED || !isLong || this.#leftOut.has(namespace)) return false;
      this.#leftOut.add(namespace);
      return true;
    });
  }

  isLeftOut(namespace: string): boolean {
    return this.#leftOut.has(namespace);
  }

  /** Chains and sets of the namespace that are not in the kernel, and that no other namespace needs. */
  newObjects(namespace: string, observed: ObservedState | undefined): readonly string[] {
    const all = endpointChainsOf(this.#ruleset);
    const others = new Set(all.filter((one) => namespaceOf(one) !== namespace).flatMap(({ sets }) => sets));
    const own = all.filter((one) => namespaceOf(one) === namespace);
    const chains = own.map(({ name }) => name).filter((name) => !isThere(name, observed));
    const sets = own.flatMap((one) => one.sets).filter((set) => !others.has(set) && !observed?.sets.has(set));
    return [...new Set([...chains, ...sets])];
  }

  /** The lines of a commit that belong to endpoint chains, by namespace, then by chain. */
  linesOf(family: Family, lines: readonly PlanLine[]): ReadonlyMap<string, ReadonlyMap<string, readonly PlanLine[]>> {
    const found = new Map<string, Map<string, PlanLine[]>>();
    for (const line of lines) {
      const one = endpointOf(this.#ruleset.families[family], line.object);
      if (!one) continue;
      const ofNamespace = found.get(namespaceOf(one)) ?? new Map<string, PlanLine[]>();
      found.set(namespaceOf(one), ofNamespace);
      const ofEndpoint = ofNamespace.get(one.name);
      if (ofEndpoint) ofEndpoint.push(line);
      else ofNamespace.set(one.name, [line]);
    }
    return found;
  }
}

function endpointChainsOf({ families }: Ruleset): readonly EndpointChain[] {
  return FAMILIES.flatMap((family) => [...families[family].endpointChains.values()]);
}

/** What is audited is no reason to leave out what is enforced. */
function concerns({ name, sets, audit }: EndpointChain, object: string): boolean {
  return !audit && (name === object || sets.includes(object));
}

/** A policy group is of one namespace; where only cluster-wide policies are in it, of none. */
function namespaceOf({ policies }: EndpointChain): string {
  return policies.at(-1)?.namespace ?? '';
}

function isThere(chain: string, observed: ObservedState | undefined): boolean {
  return FAMILIES.some((family) => observed?.families[family]?.chains.has(chain));
}
