import type { Labels, NamedPort } from '../policy/model.ts';

/** Beyond this many different values, or as many as there are objects, sharing starts afresh: memory stays bounded. */
const MIN_LIMIT = 8192;
/** Whole specs of policies: few are alike in anything but being the same chart's, and their keys are long. */
const MAX_SHARED_DATA = 1024;

/** Labels with one hash that are kept apart. Whoever finds more of them only spoils the sharing. */
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
export class Sharing {
  readonly #objects: { readonly size: number };
  readonly #texts = new Map<string, string>();
  /** By a hash of what they hold; a list where two have the same. */
  readonly #labels = new Map<number, Labels | readonly Labels[]>();
  readonly #ports = new Map<string, readonly NamedPort[]>();
  readonly #data = new Map<string, unknown>();

  /** `objects`: those the values belong to. There are not many more different values than objects. */
  constructor(objects: { readonly size: number } = { size: 0 }) {
    this.#objects = objects;
  }

  text(value: string): string {
    return share(this.#texts, value, () => value, MIN_LIMIT);
  }

  /** Labels in another order are not found to be equal; the API server sorts them. */
  labels(labels: Record<string, string>): Labels {
    const hash = hashOf(labels);
    const known = this.#labels.get(hash);
    const candidates = known === undefined ? [] : isList(known) ? known : [known];
    const found = candidates.find((candidate) => sameLabels(candidate, labels));
    if (found) return found;
    if (this.#labels.size >= Math.max(MIN_LIMIT, this.#objects.size)) this.#labels.clear();
    const shared = new Bare();
    for (const key in labels) shared[this.text(key)] = this.text(labels[key]!);
    this.#labels.set(hash, candidates.length === 0 ? shared : [shared, ...candidates.slice(0, MAX_SAME_HASH - 1)]);
    return shared;
  }

  ports(ports: readonly NamedPort[]): readonly NamedPort[] {
    return ports.length === 0 ? NO_PORTS : share(this.#ports, JSON.stringify(ports), () => ports, MIN_LIMIT);
  }

  /** Any JSON data. */
  data<T>(value: T): T {
    return share(this.#data, JSON.stringify(value), () => value, MAX_SHARED_DATA) as T;
  }
}

function share<T>(known: Map<string, T>, key: string, make: () => T, limit: number): T {
  const found = known.get(key);
  if (found !== undefined) return found;
  if (known.size >= limit) known.clear();
  const value = make();
  known.set(key, value);
  return value;
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
