/** Finds, by a label, which of many kinds of pods have it. A key that nobody asks for takes no memory. */
import type { Labels } from '../policy/model.ts';

/** Keys that were asked for last. What selectors ask for is few keys with many values. */
const MAX_KEYS = 16;

/** Alone, as most are: a set takes several times the memory, for each of tens of thousands of values. */
type ByValue<T> = Map<string, T | Set<T>>;

export class LabelIndex<T extends { readonly labels: Labels }> {
  readonly #all: () => Iterable<T>;
  /** By key, the one asked for last at the end; then by value. */
  readonly #byKey = new Map<string, ByValue<T>>();

  /** `all`: what was added and not removed. */
  constructor(all: () => Iterable<T>) {
    this.#all = all;
  }

  add(one: T): void {
    for (const [key, byValue] of this.#byKey) put(byValue, key, one);
  }

  remove(one: T): void {
    for (const [key, byValue] of this.#byKey) {
      const value = one.labels[key]!;
      const found = byValue.get(value);
      if (found === one || (found instanceof Set && found.delete(one) && found.size === 0)) byValue.delete(value);
    }
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
    const found = byValue.get(value);
    return found instanceof Set ? found : found ? [found] : [];
  }

  #groupsOf(key: string): ByValue<T> {
    const byValue: ByValue<T> = new Map();
    for (const one of this.#all()) put(byValue, key, one);
    return byValue;
  }
}

function put<T extends { readonly labels: Labels }>(byValue: ByValue<T>, key: string, one: T): void {
  // Keys are what users wrote: `constructor` must not find Object.prototype.
  if (!Object.hasOwn(one.labels, key)) return;
  const value = one.labels[key]!;
  const found = byValue.get(value);
  if (found instanceof Set) found.add(one);
  else byValue.set(value, found ? new Set([found, one]) : one);
}
