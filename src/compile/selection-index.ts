/** Finds what selects a pod by the pod's labels: a label that few values of are asked for leads to those that ask. */
import type { Labels, Requirement, Selector } from '../policy/model.ts';

import { Groups } from '../core/groups.ts';

/** Under so many labels one is found; with more it is asked about every pod. */
const MAX_TERMS = 16;
/** Not of the form `key=value`. */
export const ANY = '';
const ONLY_ANY: ReadonlySet<string> = new Set([ANY]);

export class SelectionIndex<T> {
  readonly #byNamespace = new Map<string | undefined, Groups<string, T>>();

  /** `value` selects pods that any of the selectors matches, in that namespace alone, or in any. */
  add(namespace: string | undefined, selectors: readonly Selector[], value: T): void {
    const byTerm = this.#byNamespace.get(namespace) ?? new Groups<string, T>();
    this.#byNamespace.set(namespace, byTerm);
    for (const term of termsOf(selectors)) byTerm.add(term, value);
  }

  /** As it was added. */
  remove(namespace: string | undefined, selectors: readonly Selector[], value: T): void {
    const byTerm = this.#byNamespace.get(namespace);
    for (const term of termsOf(selectors)) byTerm?.remove(term, value);
    if (byTerm?.size === 0) this.#byNamespace.delete(namespace);
  }

  /** A superset of those that select pods of the namespace with these labels. */
  candidates(namespace: string, labels: Labels): ReadonlySet<T> {
    const found = new Set<T>();
    for (const byTerm of [this.#byNamespace.get(namespace), this.#byNamespace.get(undefined)]) {
      if (!byTerm) continue;
      for (const value of byTerm.get(ANY) ?? []) found.add(value);
      for (const key of Object.keys(labels))
        for (const value of byTerm.get(termOf(key, labels[key]!)) ?? []) found.add(value);
    }
    return found;
  }
}

export function termOf(key: string, value: string): string {
  return `${key}=${value}`;
}

/** Each pod that is selected has one of these labels, or ANY is among them. Where a key has `=` in it, two labels may be one term. */
export function termsOf(selectors: readonly Selector[]): ReadonlySet<string> {
  const terms = new Set<string>();
  for (const selector of selectors) {
    if (selector.kind === 'nothing') continue;
    const asked = narrowest(selector.requirements);
    if (!asked || terms.size + asked.values.length > MAX_TERMS) return ONLY_ANY;
    for (const value of asked.values) terms.add(termOf(asked.key, value));
  }
  return terms;
}

/** Of those that want one of some values, the one with the fewest. */
export function narrowest(requirements: readonly Requirement[]): Requirement | undefined {
  let found: Requirement | undefined;
  for (const each of requirements)
    if (each.operator === 'In' && !(found && found.values.length <= each.values.length)) found = each;
  return found;
}
