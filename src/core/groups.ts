/** Some values for each key; a key that has none is not there. */
export class Groups<K, V> extends Map<K, Set<V>> {
  add(key: K, value: V): void {
    const values = this.get(key);
    if (values) values.add(value);
    else this.set(key, new Set([value]));
  }

  /** Returns whether it was there. */
  remove(key: K, value: V): boolean {
    const values = this.get(key);
    const wasThere = values?.delete(value) ?? false;
    if (values?.size === 0) this.delete(key);
    return wasThere;
  }
}
