import { type Labels, type NamedPort, UNKNOWN_LABELS } from '../policy/model.ts';

/**
 * Beyond this many different values, or as many as there are objects, sharing starts afresh, and so it does beyond this many bytes: memory
 * stays bounded whatever comes and goes.
 */
const MIN_LIMIT = 8192;
const MAX_BYTES = 4 * 1024 * 1024;
/** Parts of specs: few are alike in anything but being the same chart's, and their keys are long. */
const MAX_SHARED_DATA = 1024;

/** Labels with one hash that are kept apart. Whoever finds more of them only spoils the interner. */
const MAX_SAME_HASH = 4;

const NO_PORTS: readonly NamedPort[] = [];

/**
 * Objects without anything inherited, so that no key (`__proto__`, `constructor`) means anything but itself. What `Object.create(null)`
 * makes is a hash table, five times as large.
 */
function bare() {}
bare.prototype = Object.freeze(Object.create(null));
const Bare = bare as unknown as new () => Record<string, string>;

/**
 * Equal values of many pods kept once: the pods of one deployment have the same labels, ports, namespace. Also makes the
 * comparison of an updated pod cheap, because what did not change is the same object.
 */
export class Interner {
  readonly #objects: { readonly size: number };
  readonly #texts = new SharedValues<string>(MIN_LIMIT);
  /** By a hash of what they hold; a list where two have the same. */
  readonly #labels = new Map<number, Labels | readonly Labels[]>();
  #labelBytes = 0;
  readonly #ports = new SharedValues<readonly NamedPort[]>(MIN_LIMIT);
  readonly #data = new SharedValues<unknown>(MAX_SHARED_DATA);

  /** `objects`: those the values belong to. There are not many more different values than objects. */
  constructor(objects: { readonly size: number } = { size: 0 }) {
    this.#objects = objects;
  }

  text(value: string): string {
    return this.#texts.get(value, () => value);
  }

  /** Labels in another order are not found to be equal; the API server sorts them. */
  labels(labels: Labels): Labels {
    if (labels === UNKNOWN_LABELS) return UNKNOWN_LABELS;
    const hash = hashOf(labels);
    const known = this.#labels.get(hash);
    const candidates = known === undefined ? [] : isList(known) ? known : [known];
    const found = candidates.find((candidate) => sameLabels(candidate, labels));
    if (found) return found;
    if (this.#labels.size >= Math.max(MIN_LIMIT, this.#objects.size) || this.#labelBytes > 2 * MAX_BYTES) {
      this.#labels.clear();
      this.#labelBytes = 0;
    }
    const shared = new Bare();
    for (const key in labels) {
      const value = labels[key]!;
      shared[this.text(key)] = this.text(value);
      this.#labelBytes += key.length + value.length;
    }
    this.#labels.set(hash, candidates.length === 0 ? shared : [shared, ...candidates.slice(0, MAX_SAME_HASH - 1)]);
    return shared;
  }

  ports(ports: readonly NamedPort[]): readonly NamedPort[] {
    return ports.length === 0 ? NO_PORTS : this.#ports.get(JSON.stringify(ports), () => ports);
  }

  /** Any JSON data. */
  data<T>(value: T): T {
    return this.#data.get(JSON.stringify(value), () => value) as T;
  }
}

/** One value for each key. */
class SharedValues<T> {
  readonly #known = new Map<string, T>();
  readonly #limit: number;
  #bytes = 0;

  constructor(limit: number) {
    this.#limit = limit;
  }

  get(key: string, make: () => T): T {
    const found = this.#known.get(key);
    if (found !== undefined) return found;
    if (this.#known.size >= this.#limit || this.#bytes > MAX_BYTES) {
      this.#known.clear();
      this.#bytes = 0;
    }
    const value = make();
    this.#known.set(key, value);
    this.#bytes += key.length;
    return value;
  }
}

function isList(known: Labels | readonly Labels[]): known is readonly Labels[] {
  return Array.isArray(known);
}

/** FNV-1a over keys and values, with a character between them that neither can hold. */
function hashOf(labels: Labels): number {
  let hash = 0x811c9dc5;
  for (const key in labels) {
    hash = hashText(hashText(hash, key), labels[key]!);
  }
  return hash;
}

function hashText(start: number, text: string): number {
  let hash = start;
  for (let at = 0; at < text.length; at++) hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193);
  return Math.imul(hash ^ 0xffff, 0x01000193);
}

function sameLabels(a: Labels, b: Labels): boolean {
  let count = 0;
  for (const key in a) {
    if (a[key] !== b[key]) return false;
    count++;
  }
  for (const _ in b) count--;
  return count === 0;
}
