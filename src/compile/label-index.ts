/** Finds, by a label, which of many kinds of pods have it. A key that nobody asks for takes no memory. */
import type { Labels } from '../policy/model.ts';

import { Groups } from '../core/groups.ts';

/** Keys that were asked for last. What selectors ask for is few keys with many values. */
const MAX_KEYS = 16;

export class LabelIndex<T extends { readonly labels: Labels }> {
  readonly #all: () => Iterable<T>;
  /** By key, the one asked for last at the end; then by value. */
  readonly #byKey = new Map<string, Groups<string, T>>();

  /** `all`: what was added and not removed. */
  constructor(all: () => Iterable<T>) {
    this.#all = all;
  }

  add(value: T): void {
    for (const [key, byValue] of this.#byKey) put(byValue, key, value);
  }

  remove(value: T): void {
    for (const [key, byValue] of this.#byKey) byValue.remove(value.labels[key]!, value);
  }

  /** Those with the label; a key that was not asked for lately costs a look at all there is. */
  with(key: string, value: string): Iterable<T> {
    const byValue = this.#byKey.get(key) ?? this.#groupsOf(key);
    this.#byKey.delete(key);
    this.#byKey.set(key, byValue);
    for (const other of this.#byKey.size > MAX_KEYS ? this.#byKey.keys() : []) {
      this.#byKey.delete(other);
      break;
    }
    return byValue.get(value) ?? [];
  }

  #groupsOf(key: string): Groups<string, T> {
    const byValue = new Groups<string, T>();
    for (const value of this.#all()) put(byValue, key, value);
    return byValue;
  }
}

function put<T extends { readonly labels: Labels }>(byValue: Groups<string, T>, key: string, value: T): void {
  // Keys are what users wrote: `constructor` must not find Object.prototype.
  if (Object.hasOwn(value.labels, key)) byValue.add(value.labels[key]!, value);
}
