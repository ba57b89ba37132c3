import { isSameValue } from '../core/same-value.ts';
import type { Problem } from '../policy/model.ts';
import { isRecord } from '../policy/raw-values.ts';
import { JoinedProblems, ProblemBook } from './problem-book.ts';
import { identify, type ObjectRecord, type Project, writtenAt } from './project.ts';
import { versionOf } from './read-answer.ts';
import { Interner } from './interner.ts';

/** One effective change of one object. A new object under an old name is a deletion and an addition. */
export interface StoreChange {
  readonly key: string;
  readonly type: 'added' | 'changed' | 'deleted';
  readonly before?: ObjectRecord;
  readonly after?: ObjectRecord;
  readonly arrivedAtMs: number;
  /** Of the object in the event that told; absent if a list did. */
  readonly version?: string;
  /** The API's own time stamp of the change, wall clock in ms, in whole seconds; absent if a list told, or the object does not. */
  readonly writtenAtMs?: number;
}

/** What became of one object that arrived. */
export type Applied = 'changed' | 'unchanged' | 'malformed';

/** Where the reflector puts what it hears. */
export interface Sink {
  /** An object as it is now, from an event or a list. */
  upsert(object: unknown, arrivedAtMs: number): Applied;
  /** An object that is gone. */
  remove(object: unknown, arrivedAtMs: number): Applied;
  /** A list begins: from here on what arrives is remembered as still existing. */
  beginList(): void;
  /**
   * The list is over. What it did not name is deleted, unless a part of it was unreadable (`complete` is false).
   * Result: changes found, deletions included.
   */
  endList(arrivedAtMs: number, complete: boolean): number;
  /** The list broke off: nothing can be concluded from what it did not name. Harmless outside a list. */
  dropList(): void;
  /** Asked now and then: only a list can bring what was not kept and could be now. */
  wantsList?(nowMs: number): boolean;
}

/** Decides how much is kept of the objects of a kind. Its answers must not depend on the order of events. */
export interface Budget<T> {
  /**
   * One object came, changed or went. Result: what is to be kept from now on, of this one and of all to which it makes a difference;
   * undefined: nothing. No result at all: this one as it is. Asked before the change is told to anybody.
   */
  settle(key: string, before: T | undefined, after: T | undefined): ReadonlyMap<string, T | undefined> | undefined;
  beginList(): void;
  /** Result: as of `settle`. */
  endList(nowMs: number, complete: boolean): ReadonlyMap<string, T | undefined>;
  /** The record is the budget's own: no list can name it. */
  isOwn(key: string): boolean;
  /** Something was not kept that could be now. */
  wantsList(nowMs: number): boolean;
  /** The same array until a problem comes or goes. */
  readonly problems: readonly Problem[];
}

/** Decides whether a record stays although its object was deleted. */
export interface Retention<T> {
  /** Asked before a deletion counts. `version`: of the deletion; absent if a list told. */
  retains(key: string, record: T, version: string | undefined, nowMs: number): boolean;
  /** The object is there, again or still. */
  exists(key: string): void;
}

/** Carries over from a record to its successor what no single object tells. */
export interface History<T> {
  /** The record to keep in place of `after`. `before`: of the same object (by uid), if it is known. */
  succeed(before: T | undefined, after: T, isListed: boolean): T;
  endList(): void;
}

export interface StoreOptions<T extends ObjectRecord> {
  readonly project: Project<T>;
  /** Objects of this kind live in a namespace. */
  readonly namespaced: boolean;
  /** '' if the record does not carry one. */
  readonly uidOf: (record: T) => string;
  readonly onChange: (change: StoreChange) => void;
  /** Other keys are ignored, for a server that ignores the field selector. */
  readonly onlyKey?: string;
  /** Records without which nothing is different are not kept, unless there is something wrong with them. Absent: all are. */
  readonly matters?: (record: T) => boolean;
  /** Absent: all is kept. */
  readonly budget?: Budget<T>;
  /** Absent: what is deleted is gone. */
  readonly retention?: Retention<T>;
  /** Absent: a record is what its object tells. */
  readonly history?: History<T>;
}

const NO_PROBLEMS: readonly Problem[] = [];

/**
 * The slim records of one kind. Repeated and late events are harmless: only what differs from the record we hold is a
 * change. Resource versions are not looked at here, because their order means nothing to a client.
 */
export class ObjectStore<T extends ObjectRecord> implements Sink {
  readonly #records = new Map<string, T>();
  readonly #problems = new ProblemBook();
  readonly #joined = new JoinedProblems();
  #listing: { readonly seen: Set<string>; changes: number } | undefined;
  /** Of the event that is taken in. */
  #version: string | undefined;
  #object: unknown;
  readonly #options: StoreOptions<T>;
  readonly #interner = new Interner(this.#records);

  constructor(options: StoreOptions<T>) {
    this.#options = options;
  }

  get records(): ReadonlyMap<string, T> {
    return this.#records;
  }

  /** The same array until a problem comes or goes. */
  get problems(): readonly Problem[] {
    return this.#joined.of([this.#options.budget?.problems ?? NO_PROBLEMS, this.#problems.list]);
  }

  upsert(object: unknown, arrivedAtMs: number): Applied {
    const projection = this.#options.project(object, this.#interner);
    if (projection.kind === 'unusable') {
      this.#problems.noteUnusable(projection.problems);
      return 'malformed';
    }
    const { key, problems } = projection;
    if (this.#options.onlyKey !== undefined && key !== this.#options.onlyKey) return 'unchanged';
    this.#listing?.seen.add(key);
    this.#problems.note(key, problems);
    this.#options.retention?.exists(key);
    const record = this.#succeed(key, projection.record);
    const isNothing = problems.length === 0 && this.#options.matters?.(record) === false;
    this.#telling(object);
    const isChange = isNothing ? this.#drop(key, arrivedAtMs) : this.#put(key, record, arrivedAtMs);
    this.#told();
    return isChange ? 'changed' : 'unchanged';
  }

  #succeed(key: string, after: T): T {
    const { history, uidOf } = this.#options;
    if (!history) return after;
    const known = this.#records.get(key);
    const before = known !== undefined && uidOf(known) === uidOf(after) ? known : undefined;
    return history.succeed(before, after, this.#listing !== undefined);
  }

  remove(object: unknown, arrivedAtMs: number): Applied {
    const identity = identify(object, this.#options.namespaced);
    if (identity === undefined) return 'malformed';
    const record = this.#records.get(identity.key);
    if (record === undefined) return 'unchanged';
    const uid = this.#options.uidOf(record);
    // The end of an earlier object of this name, heard late: the one we hold lives on.
    if (uid !== '' && identity.uid !== '' && uid !== identity.uid) return 'unchanged';
    this.#telling(object);
    const stays = this.#options.retention?.retains(identity.key, record, this.#version, arrivedAtMs) ?? false;
    if (!stays) this.#delete(identity.key, record, arrivedAtMs);
    this.#told();
    return stays ? 'unchanged' : 'changed';
  }

  /** The object is there, but makes no difference. Returns whether that is a change. */
  #drop(key: string, arrivedAtMs: number): boolean {
    const before = this.#records.get(key);
    if (before !== undefined) this.#delete(key, before, arrivedAtMs);
    return before !== undefined;
  }

  /** Puts a record back that was deleted. */
  restore(key: string, record: T, nowMs: number): void {
    this.#put(key, record, nowMs);
  }

  /** Ends what outlived its deletion. */
  end(keys: Iterable<string>, nowMs: number): void {
    for (const key of keys) {
      const record = this.#records.get(key);
      if (record !== undefined) this.#delete(key, record, nowMs);
    }
  }

  /** What is told from here on carries the version of the object that brings it, unless in a list. */
  #telling(object: unknown): void {
    const isEvent = !this.#listing && isRecord(object);
    this.#version = isEvent ? versionOf(object) : undefined;
    this.#object = isEvent ? object : undefined;
  }

  #told(): void {
    this.#version = undefined;
    this.#object = undefined;
  }

  wantsList(nowMs: number): boolean {
    return this.#options.budget?.wantsList(nowMs) ?? false;
  }

  beginList(): void {
    this.#listing = { seen: new Set(), changes: 0 };
    this.#options.budget?.beginList();
    this.#problems.forgetUnusable();
  }

  endList(arrivedAtMs: number, complete: boolean): number {
    const listing = this.#listing;
    if (!listing) return 0;
    const { budget, retention } = this.#options;
    for (const [key, record] of complete ? this.#records : []) {
      if (listing.seen.has(key) || budget?.isOwn(key) || retention?.retains(key, record, undefined, arrivedAtMs))
        continue;
      this.#delete(key, record, arrivedAtMs);
    }
    if (budget) this.#keep(budget.endList(arrivedAtMs, complete), arrivedAtMs);
    this.#listing = undefined;
    this.#options.history?.endList();
    return listing.changes;
  }

  dropList(): void {
    this.#listing = undefined;
  }

  /** Returns whether anything changed. */
  #put(key: string, after: T, arrivedAtMs: number): boolean {
    const before = this.#records.get(key);
    const isReborn = before !== undefined && this.#options.uidOf(before) !== this.#options.uidOf(after);
    // Also so that nothing is held twice.
    if (before !== undefined && !isReborn && isSameValue(before, after)) return false;
    const kept = this.#options.budget?.settle(key, before, after);
    if (!kept) {
      this.#exchange(key, before, after, isReborn, arrivedAtMs);
      return true;
    }
    if (kept.get(key) === undefined) this.#problems.note(key, NO_PROBLEMS);
    const changed = this.#replace(key, kept.get(key), isReborn, arrivedAtMs);
    return this.#keep(kept, arrivedAtMs) || changed;
  }

  #delete(key: string, before: T, arrivedAtMs: number): void {
    const kept = this.#options.budget?.settle(key, before, undefined);
    this.#replace(key, undefined, false, arrivedAtMs);
    if (kept) this.#keep(kept, arrivedAtMs);
  }

  #keep(records: ReadonlyMap<string, T | undefined>, arrivedAtMs: number): boolean {
    let changed = false;
    for (const [key, record] of records) changed = this.#replace(key, record, false, arrivedAtMs) || changed;
    return changed;
  }

  /** `isReborn`: a new object under an old name. Returns whether that is a change. */
  #replace(key: string, after: T | undefined, isReborn: boolean, arrivedAtMs: number): boolean {
    const before = this.#records.get(key);
    if (before === after || (before !== undefined && !isReborn && isSameValue(before, after))) return false;
    this.#exchange(key, before, after, isReborn, arrivedAtMs);
    return true;
  }

  #exchange(key: string, before: T | undefined, after: T | undefined, isReborn: boolean, arrivedAtMs: number): void {
    if (before !== undefined && (after === undefined || isReborn)) {
      this.#records.delete(key);
      if (after === undefined) this.#problems.note(key, NO_PROBLEMS);
      this.#emit({ key, type: 'deleted', before, arrivedAtMs });
    }
    if (after === undefined) return;
    this.#records.set(key, after);
    if (before === undefined || isReborn) this.#emit({ key, type: 'added', after, arrivedAtMs });
    else this.#emit({ key, type: 'changed', before, after, arrivedAtMs });
  }

  /** `change`: made for this. */
  #emit(change: { -readonly [K in keyof StoreChange]: StoreChange[K] }): void {
    if (this.#listing) this.#listing.changes++;
    if (this.#version !== undefined) change.version = this.#version;
    const writtenAtMs = this.#object === undefined || change.type === 'deleted' ? undefined : writtenAt(this.#object);
    if (writtenAtMs !== undefined) change.writtenAtMs = writtenAtMs;
    this.#options.onChange(change);
  }
}
