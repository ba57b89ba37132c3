/** Maps that change in place and journal how, so that a change costs what it changes, not what the map holds. */

export interface Change<K, V> {
  readonly key: K;
  /** Undefined: was not an entry. */
  readonly before: V | undefined;
  /** Undefined: the entry was deleted. */
  readonly after: V | undefined;
}

/** An immutable map that is one version of a history. */
export interface VersionedMap<K, V> extends ReadonlyMap<K, V> {
  /** Unique in the process: equal versions are equal maps. */
  readonly version: number;
  /**
   * The net changes, deletions included, that lead from `version` to this map, in the order in which keys first changed. `all`: that
   * version is not known to this map's history, and the two maps have to be compared entry by entry.
   */
  changesSince(version: number | undefined): readonly Change<K, V>[] | 'all';
  /** The map with other entries; `undefined`: without one. Costs what changes for the latest version of a history that nobody else goes on with, a copy otherwise. */
  with(entries: Iterable<readonly [K, V | undefined]>): VersionedMap<K, V>;
}

/** A map that no history is known of, or a version of one. */
export type MaybeVersioned<K, V> = ReadonlyMap<K, V> & Partial<Pick<VersionedMap<K, V>, 'version' | 'with'>>;

/** Beyond this many journaled changes per entry (and a floor for small maps) a fresh copy is cheaper than the memory. */
const MAX_JOURNAL_PER_ENTRY = 2;
const MIN_JOURNAL_LIMIT = 1024;

/** Numbers the versions of all maps, so that a version of one history is never taken for one of another. */
let lastVersion = 0;

interface JournalEntry<K, V> extends Change<K, V> {
  /** That it led to. */
  readonly version: number;
}

interface History<K, V> {
  /** As after the whole journal. */
  readonly entries: Map<K, V>;
  readonly journal: JournalEntry<K, V>[];
  /** Before the first change of the journal. */
  readonly firstVersion: number;
  /** Of a `JournaledMap`, which alone goes on with it. */
  readonly isOwned: boolean;
}

/** The map that changes. Readers hold snapshots of it, which stay what they were. */
export class JournaledMap<K, V> {
  #history: History<K, V>;
  #snapshot: VersionedMap<K, V> | undefined;

  constructor(entries: Iterable<readonly [K, V]> = []) {
    this.#history = startHistory(new Map(entries), true);
  }

  get(key: K): V | undefined {
    return this.#history.entries.get(key);
  }

  get size(): number {
    return this.#history.entries.size;
  }

  /** `value` undefined: no entry. Returns whether anything changed. */
  set(key: K, value: V | undefined): boolean {
    if (!record(this.#history, key, value)) return false;
    this.#snapshot = undefined;
    return true;
  }

  /** The map as of now; the same object until something changes. */
  snapshot(): VersionedMap<K, V> {
    const history = shortened(this.#history);
    if (history !== this.#history || !this.#snapshot) this.#snapshot = new Snapshot(history);
    this.#history = history;
    return this.#snapshot;
  }

  /** Frees the journal, without a copy: no snapshot from before may be read any more. */
  dropHistory(): void {
    this.#history = startHistory(this.#history.entries, true);
    this.#snapshot = undefined;
  }
}

/** A map that never changes. */
export function versionedMap<K, V>(entries: Iterable<readonly [K, V]> = []): VersionedMap<K, V> {
  return new Snapshot(startHistory(new Map(entries), false));
}

/** The same of a map that nobody changes any more: there is no copy of it. */
export function versionedMapOver<K, V>(entries: Map<K, V>): VersionedMap<K, V> {
  return new Snapshot(startHistory(entries, false));
}

function startHistory<K, V>(entries: Map<K, V>, isOwned: boolean): History<K, V> {
  return { entries, journal: [], firstVersion: ++lastVersion, isOwned };
}

function record<K, V>({ entries, journal }: History<K, V>, key: K, value: V | undefined): boolean {
  const before = entries.get(key);
  if (before === value) return false;
  if (value === undefined) entries.delete(key);
  else entries.set(key, value);
  journal.push({ key, before, after: value, version: ++lastVersion });
  return true;
}

/** Without a journal, where a copy is cheaper; older snapshots keep the old entries and journal. */
function shortened<K, V>(history: History<K, V>): History<K, V> {
  const { entries, journal, isOwned } = history;
  const isLong = journal.length > Math.max(MIN_JOURNAL_LIMIT, entries.size * MAX_JOURNAL_PER_ENTRY);
  return isLong ? startHistory(new Map(entries), isOwned) : history;
}

/** Reading the latest snapshot of a history costs what reading a Map costs; a past one is reconstructed once, on demand. */
class Snapshot<K, V> implements VersionedMap<K, V> {
  readonly #history: History<K, V>;
  /** Length of the journal. */
  readonly #position: number;
  readonly version: number;
  readonly size: number;
  #past: ReadonlyMap<K, V> | undefined;

  constructor(history: History<K, V>) {
    this.#history = history;
    this.#position = history.journal.length;
    this.version = history.journal.at(-1)?.version ?? history.firstVersion;
    this.size = history.entries.size;
  }

  changesSince(version: number | undefined): readonly Change<K, V>[] | 'all' {
    const { journal } = this.#history;
    const start = version === undefined ? undefined : positionOf(version, this.#history);
    if (start === undefined || start > this.#position) return 'all';
    if (start === this.#position) return [];
    if (start + 1 === this.#position) {
      const { key, before, after } = journal[start]!;
      return [{ key, before, after }];
    }
    const net = new Map<K, { readonly before: V | undefined; after: V | undefined }>();
    for (let index = start; index < this.#position; index++) {
      const { key, before, after } = journal[index]!;
      const known = net.get(key);
      if (known) known.after = after;
      else net.set(key, { before, after });
    }
    return [...net].flatMap(([key, { before, after }]) => (before === after ? [] : [{ key, before, after }]));
  }

  with(entries: Iterable<readonly [K, V | undefined]>): VersionedMap<K, V> {
    const { journal, isOwned } = this.#history;
    const isFree = !isOwned && this.#position === journal.length;
    const history = isFree ? this.#history : startHistory(new Map(this.#entries()), false);
    for (const [key, value] of entries) record(history, key, value);
    return isFree && this.#position === journal.length ? this : new Snapshot(shortened(history));
  }

  #entries(): ReadonlyMap<K, V> {
    if (this.#past) return this.#past;
    const { entries, journal } = this.#history;
    if (this.#position === journal.length) return entries;
    const past = new Map(entries);
    for (let index = journal.length - 1; index >= this.#position; index--) {
      const { key, before } = journal[index]!;
      if (before === undefined) past.delete(key);
      else past.set(key, before);
    }
    this.#past = past;
    return past;
  }

  get(key: K): V | undefined {
    return this.#entries().get(key);
  }

  has(key: K): boolean {
    return this.#entries().has(key);
  }

  forEach(callback: (value: V, key: K, map: ReadonlyMap<K, V>) => void): void {
    for (const [key, value] of this.#entries()) callback(value, key, this);
  }

  entries(): MapIterator<[K, V]> {
    return this.#entries().entries();
  }

  keys(): MapIterator<K> {
    return this.#entries().keys();
  }

  values(): MapIterator<V> {
    return this.#entries().values();
  }

  [Symbol.iterator](): MapIterator<[K, V]> {
    return this.entries();
  }
}

/** How much of the journal leads to the version. */
function positionOf<K, V>(version: number, { journal, firstVersion }: History<K, V>): number | undefined {
  if (version === firstVersion) return 0;
  let [low, high] = [0, journal.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (journal[middle]!.version < version) low = middle + 1;
    else high = middle;
  }
  return journal[low]?.version === version ? low + 1 : undefined;
}
