/** What changed in a map since somebody took its changes in. Keeps what was there then, and none of the values in between. */
import type { Change } from './versioned-map.ts';

export class PendingChanges<V> {
  readonly #before = new Map<string, V | undefined>();

  /** `before`: the value that is about to be replaced. */
  note(key: string, before: V | undefined): void {
    if (!this.#before.has(key)) this.#before.set(key, before);
  }

  get size(): number {
    return this.#before.size;
  }

  /** The net changes that lead to `now`. */
  list(now: ReadonlyMap<string, V>): readonly Change<string, V>[] {
    const changes: Change<string, V>[] = [];
    for (const [key, before] of this.#before) {
      const after = now.get(key);
      if (before === after) this.#before.delete(key);
      else changes.push({ key, before, after });
    }
    return changes;
  }

  /** These were taken in, whatever came after they were listed. */
  taken(changes: Iterable<Change<string, V>>, now: ReadonlyMap<string, V>): void {
    for (const { key, after } of changes) {
      if (now.get(key) === after) this.#before.delete(key);
      else this.#before.set(key, after);
    }
  }

  clear(): void {
    this.#before.clear();
  }
}
