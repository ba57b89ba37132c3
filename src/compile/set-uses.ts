/** How often each set is used, so that sets which nobody needs any more are found without a look at all others. */
export class SetUses {
  readonly #counts = new Map<string, number>();
  /** Keys of sets that may be of no use. */
  readonly #doubtful = new Set<string>();

  has(key: string): boolean {
    return this.#counts.has(key);
  }

  add(keys: Iterable<string>): void {
    for (const key of keys) this.#counts.set(key, (this.#counts.get(key) ?? 0) + 1);
  }

  remove(keys: Iterable<string>): void {
    for (const key of keys) {
      const left = this.#counts.get(key)! - 1;
      if (left > 0) this.#counts.set(key, left);
      else {
        this.#counts.delete(key);
        this.#doubtful.add(key);
      }
    }
  }

  /** Sets that were made, perhaps in vain. */
  made(keys: Iterable<string>): void {
    for (const key of keys) if (!this.#counts.has(key)) this.#doubtful.add(key);
  }

  /** Those that nobody uses; what `isHeld` is asked about again the next time. */
  takeUnused(isHeld: (key: string) => boolean): readonly string[] {
    const unused: string[] = [];
    for (const key of this.#doubtful) {
      const isUsed = this.#counts.has(key);
      if (!isUsed && isHeld(key)) continue;
      this.#doubtful.delete(key);
      if (!isUsed) unused.push(key);
    }
    return unused;
  }
}
