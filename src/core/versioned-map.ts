/** Maps that change in place and remember how, so that a change costs what it changes, not what the map holds. */

export interface Change<V> {
  readonly key: string;
  /** Undefined: was not an entry. */
  readonly before: V | undefined;
  /** Undefined: is no entry any more. */
  readonly after: V | undefined;
}

/** Beyond this many remembered changes per entry (and a floor for small maps) a fresh copy is cheaper than the memory. */
const MAX_JOURNAL_PER_ENTRY = 2;
const MIN_JOURNAL_LIMIT = 1024;

/** The live map. Readers hold moments of it, which stay what they were. */
export class LiveMap<V> {
  #entries: Map<string, V>;
  #journal: Change<V>[] = [];
  #source: Source<V>;
  #view: Moment<V> | undefined;

  constructor(entries: Iterable<readonly [string, V]> = []) {
    this.#entries = new Map(entries);
    this.#source = { entries: this.#entries, journal: this.#journal };
  }

  get(key: string): V | undefined {
    return this.#entries.get(key);
  }

  get size(): number {
    return this.#entries.size;
  }

  /** `value` undefined: no entry. Returns whether anything changed. */
  set(key: string, value: V | undefined): boolean {
    const before = this.#entries.get(key);
    if (before === value) return false;
    if (value === undefined) this.#entries.delete(key);
    else this.#entries.set(key, value);
    this.#journal.push({ key, before, after: value });
    this.#view = undefined;
    return true;
  }

  /** The map as of now; the same object until something changes. */
  view(): Moment<V> {
    if (this.#journal.length > Math.max(MIN_JOURNAL_LIMIT, this.#entries.size * MAX_JOURNAL_PER_ENTRY))
      this.#startAfresh();
    this.#view ??= new Moment(this.#source, this.#journal.length, this.#entries.size);
    return this.#view;
  }

  /** For when nobody holds a view from before: how it came to be as it is need not be remembered. */
  forget(): void {
    this.#journal = [];
    this.#source = { entries: this.#entries, journal: this.#journal };
    this.#view = undefined;
  }

  /** Older views keep the old entries and journal; new ones know nothing of them. */
  #startAfresh(): void {
    this.#entries = new Map(this.#entries);
    this.#journal = [];
    this.#source = { entries: this.#entries, journal: this.#journal };
    this.#view = undefined;
  }
}

interface Source<V> {
  /** As after the whole journal. */
  readonly entries: ReadonlyMap<string, V>;
  readonly journal: readonly Change<V>[];
}

/** A live map at one moment. Reading it costs nothing while it is the latest; a past one is reconstructed once, on demand. */
export class Moment<V> implements ReadonlyMap<string, V> {
  readonly #source: Source<V>;
  readonly #version: number;
  readonly size: number;
  #past: ReadonlyMap<string, V> | undefined;

  constructor(source: Source<V>, version: number, size: number) {
    this.#source = source;
    this.#version = version;
    this.size = size;
  }

  /** The net changes from `older` to this, or undefined if they are not of one history and must be compared entry by entry. */
  changesSince(older: ReadonlyMap<string, unknown> | undefined): readonly Change<V>[] | undefined {
    if (!(older instanceof Moment) || older.#source !== this.#source || older.#version > this.#version)
      return undefined;
    const net = new Map<string, { before: V | undefined; after: V | undefined }>();
    for (let index = older.#version; index < this.#version; index++) {
      const { key, before, after } = this.#source.journal[index]!;
      const known = net.get(key);
      if (known) known.after = after;
      else net.set(key, { before, after });
    }
    return [...net].flatMap(([key, { before, after }]) => (before === after ? [] : [{ key, before, after }]));
  }

  #entries(): ReadonlyMap<string, V> {
    if (this.#past) return this.#past;
    const { entries, journal } = this.#source;
    if (this.#version === journal.length) return entries;
    const past = new Map(entries);
    for (let index = journal.length - 1; index >= this.#version; index--) {
      const { key, before } = journal[index]!;
      if (before === undefined) past.delete(key);
      else past.set(key, before);
    }
    this.#past = past;
    return past;
  }

  get(key: string): V | undefined {
    return this.#entries().get(key);
  }

  has(key: string): boolean {
    return this.#entries().has(key);
  }

  forEach(callback: (value: V, key: string, map: ReadonlyMap<string, V>) => void): void {
    for (const [key, value] of this.#entries()) callback(value, key, this);
  }

  entries(): MapIterator<[string, V]> {
    return this.#entries().entries();
  }

  keys(): MapIterator<string> {
    return this.#entries().keys();
  }

  values(): MapIterator<V> {
    return this.#entries().values();
  }

  [Symbol.iterator](): MapIterator<[string, V]> {
    return this.entries();
  }
}

/** The changes between two values of a map, where both are moments of one history. */
export function changesBetween<V>(
  older: ReadonlyMap<string, unknown> | undefined,
  newer: ReadonlyMap<string, V>,
): readonly Change<V>[] | undefined {
  return newer instanceof Moment ? (newer as Moment<V>).changesSince(older) : undefined;
}
