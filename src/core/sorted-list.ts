/** A list sorted by a key of its elements. Each state of it is a value; a change costs what it changes, and a copy of the list. */
import { compareText } from './compare.ts';

/** Beyond this share of the list it is sorted anew. */
const FEW = 1 / 16;

export class SortedList<T> {
  readonly #keyOf: (element: T) => string;
  #list: readonly T[] = [];

  /** No two elements have the same key. */
  constructor(keyOf: (element: T) => string) {
    this.#keyOf = keyOf;
  }

  /** The same object until something changes. */
  get list(): readonly T[] {
    return this.#list;
  }

  /** By key; undefined: none. */
  apply(changes: ReadonlyMap<string, T | undefined>): void {
    const differing = [...changes].filter(([key, after]) => {
      const at = this.#placeOf(this.#list, key);
      return this.#at(this.#list, at, key) !== after;
    });
    if (differing.length === 0) return;
    this.#list =
      differing.length > this.#list.length * FEW ? this.#sorted(new Map(differing)) : this.#spliced(differing);
  }

  #spliced(changes: readonly (readonly [string, T | undefined])[]): readonly T[] {
    const list = [...this.#list];
    for (const [key, after] of changes) {
      const at = this.#placeOf(list, key);
      const isThere = this.#at(list, at, key) !== undefined;
      if (after !== undefined && isThere) list[at] = after;
      else if (after !== undefined) list.splice(at, 0, after);
      else list.splice(at, 1);
    }
    return list;
  }

  #sorted(changes: ReadonlyMap<string, T | undefined>): readonly T[] {
    const kept = this.#list.filter((element) => !changes.has(this.#keyOf(element)));
    const added = [...changes.values()].filter((element) => element !== undefined);
    return [...kept, ...added].sort((a, b) => compareText(this.#keyOf(a), this.#keyOf(b)));
  }

  #at(list: readonly T[], at: number, key: string): T | undefined {
    const element = list[at];
    return element !== undefined && this.#keyOf(element) === key ? element : undefined;
  }

  /** Of the first element whose key is not less. */
  #placeOf(list: readonly T[], key: string): number {
    let [low, high] = [0, list.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#keyOf(list[middle]!) < key) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
