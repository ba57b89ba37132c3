/** A set's membership that changes in place and remembers how, so that a change costs what it changes, not what the set holds. */

export interface MemberChange {
  readonly member: string;
  /** Undefined: was not an entry. */
  readonly before: boolean | undefined;
  /** Undefined: is no entry any more. */
  readonly after: boolean | undefined;
}

/** Beyond this many remembered changes per entry (and a floor for small sets) a fresh copy is cheaper than the memory. */
const MAX_JOURNAL_PER_MEMBER = 2;
const MIN_JOURNAL_LIMIT = 1024;

/** The live membership. Readers hold `Members`, which stay what they were. */
export class LiveMembers {
  #entries: Map<string, boolean>;
  #journal: MemberChange[] = [];
  #source: Source;
  #view: Members | undefined;

  constructor(entries: Iterable<readonly [string, boolean]> = []) {
    this.#entries = new Map(entries);
    this.#source = { entries: this.#entries, journal: this.#journal };
  }

  get(member: string): boolean | undefined {
    return this.#entries.get(member);
  }

  /** `value` undefined: no entry. Returns whether anything changed. */
  set(member: string, value: boolean | undefined): boolean {
    const before = this.#entries.get(member);
    if (before === value) return false;
    if (value === undefined) this.#entries.delete(member);
    else this.#entries.set(member, value);
    this.#journal.push({ member, before, after: value });
    this.#view = undefined;
    return true;
  }

  /** The membership as of now; the same object until something changes. */
  view(): Members {
    if (this.#journal.length > Math.max(MIN_JOURNAL_LIMIT, this.#entries.size * MAX_JOURNAL_PER_MEMBER))
      this.#startAfresh();
    this.#view ??= new Members(this.#source, this.#journal.length, this.#entries.size);
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

interface Source {
  /** As after the whole journal. */
  readonly entries: ReadonlyMap<string, boolean>;
  readonly journal: readonly MemberChange[];
}

/** Membership at one moment. Reading it costs nothing while it is the latest; a past one is reconstructed once, on demand. */
export class Members implements ReadonlyMap<string, boolean> {
  readonly #source: Source;
  readonly #version: number;
  readonly size: number;
  #past: ReadonlyMap<string, boolean> | undefined;

  constructor(source: Source, version: number, size: number) {
    this.#source = source;
    this.#version = version;
    this.size = size;
  }

  /** The net changes from `older` to this, or undefined if they are not of one history and must be compared entry by entry. */
  changesSince(older: ReadonlyMap<string, boolean>): readonly MemberChange[] | undefined {
    if (!(older instanceof Members) || older.#source !== this.#source || older.#version > this.#version)
      return undefined;
    const net = new Map<string, { before: boolean | undefined; after: boolean | undefined }>();
    for (let index = older.#version; index < this.#version; index++) {
      const { member, before, after } = this.#source.journal[index]!;
      const known = net.get(member);
      if (known) known.after = after;
      else net.set(member, { before, after });
    }
    return [...net].flatMap(([member, { before, after }]) => (before === after ? [] : [{ member, before, after }]));
  }

  #entries(): ReadonlyMap<string, boolean> {
    if (this.#past) return this.#past;
    const { entries, journal } = this.#source;
    if (this.#version === journal.length) return entries;
    const past = new Map(entries);
    for (let index = journal.length - 1; index >= this.#version; index--) {
      const { member, before } = journal[index]!;
      if (before === undefined) past.delete(member);
      else past.set(member, before);
    }
    this.#past = past;
    return past;
  }

  get(member: string): boolean | undefined {
    return this.#entries().get(member);
  }

  has(member: string): boolean {
    return this.#entries().has(member);
  }

  forEach(callback: (value: boolean, key: string, map: ReadonlyMap<string, boolean>) => void): void {
    for (const [key, value] of this.#entries()) callback(value, key, this);
  }

  entries(): MapIterator<[string, boolean]> {
    return this.#entries().entries();
  }

  keys(): MapIterator<string> {
    return this.#entries().keys();
  }

  values(): MapIterator<boolean> {
    return this.#entries().values();
  }

  [Symbol.iterator](): MapIterator<[string, boolean]> {
    return this.entries();
  }
}
