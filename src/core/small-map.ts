/** Above this many entries a Map is faster; below it, it takes several times the memory. */
const MAX_FEW = 8;
const NONE: readonly never[] = [];

/** A map for keeping tens of thousands of, most with few entries: those stand in one array. Order of iteration means nothing. */
export class SmallMap<K, V> {
  /** Key, value, key, value...; unused once there is `#many`. */
  #few: readonly (K | V)[] = NONE;
  #many: Map<K, V> | undefined;

  get size(): number {
    return this.#many?.size ?? this.#few.length / 2;
  }

  get(key: K): V | undefined {
    if (this.#many) return this.#many.get(key);
    const at = this.#indexOf(key);
    return at < 0 ? undefined : (this.#few[at + 1] as V);
  }

  set(key: K, value: V): void {
    if (this.#many) {
      this.#many.set(key, value);
      return;
    }
    const at = this.#indexOf(key);
    // Made anew each time, because an array that grows in place (as one that is spread does) keeps room for sixteen more.
    if (at >= 0) this.#few = this.#few.with(at + 1, value);
    else if (this.size < MAX_FEW) this.#few = this.#few.concat([key, value]);
    else {
      this.#many = new Map([...this, [key, value]]);
      this.#few = NONE;
    }
  }

  /** Returns whether it was there. */
  delete(key: K): boolean {
    if (this.#many) return this.#many.delete(key);
    const at = this.#indexOf(key);
    if (at >= 0) this.#few = this.#few.toSpliced(at, 2);
    return at >= 0;
  }

  /** Has all that are there from its beginning to its end, whatever is set or deleted meanwhile. */
  *[Symbol.iterator](): Generator<readonly [K, V], void, undefined> {
    const few = this.#few;
    if (this.#many) yield* this.#many;
    else for (let at = 0; at < few.length; at += 2) yield [few[at] as K, few[at + 1] as V];
  }

  *values(): Generator<V, void, undefined> {
    for (const [, value] of this) yield value;
  }

  #indexOf(key: K): number {
    for (let at = 0; at < this.#few.length; at += 2) if (this.#few[at] === key) return at;
    return -1;
  }
}
