/** Changes to a map that are not in it yet: they can be read with it, and be left at any time as if they had never been. */
export class DraftMap<K, V> {
  readonly #base: Map<K, V>;
  readonly #changes = new Map<K, V | undefined>();
  #size: number;

  /** Nobody else changes `base` before `commit`. */
  constructor(base: Map<K, V>) {
    this.#base = base;
    this.#size = base.size;
  }

  /** With the changes. */
  get size(): number {
    return this.#size;
  }

  get(key: K): V | undefined {
    return this.#changes.has(key) ? this.#changes.get(key) : this.#base.get(key);
  }

  /** `undefined`: no entry. */
  set(key: K, value: V | undefined): void {
    this.#size += (value === undefined ? 0 : 1) - (this.get(key) === undefined ? 0 : 1);
    this.#changes.set(key, value);
  }

  /** What was set, whether it differs or not. */
  changes(): Iterable<readonly [K, V | undefined]> {
    return this.#changes;
  }

  /** All of the map, as changed. */
  *values(): Iterable<V> {
    for (const [key, value] of this.#base) if (!this.#changes.has(key)) yield value;
    for (const value of this.#changes.values()) if (value !== undefined) yield value;
  }

  /** Puts the changes into the map. */
  commit(): void {
    for (const [key, value] of this.#changes) {
      if (value === undefined) this.#base.delete(key);
      else this.#base.set(key, value);
    }
    this.#changes.clear();
  }
}
