import type { Labels, NamedPort } from '../policy/model.ts';

/** Beyond this many different values sharing starts afresh: memory stays bounded, only some sharing is lost. */
const MAX_SHARED = 8192;

const NO_PORTS: readonly NamedPort[] = [];

/** Whole specs of policies: few are alike in anything but being the same chart's, and their keys are long. */
const MAX_SHARED_DATA = 1024;

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
  readonly #texts = new Map<string, string>();
  readonly #labels = new Map<string, Labels>();
  readonly #ports = new Map<string, readonly NamedPort[]>();
  readonly #data = new Map<string, unknown>();

  text(value: string): string {
    return share(this.#texts, value, () => value);
  }

  labels(labels: Record<string, string>): Labels {
    // JSON, because joined keys and values could be read in two ways.
    return share(this.#labels, JSON.stringify(Object.entries(labels)), () => {
      const shared = new Bare();
      for (const [key, value] of Object.entries(labels)) shared[this.text(key)] = this.text(value);
      return shared;
    });
  }

  ports(ports: readonly NamedPort[]): readonly NamedPort[] {
    return ports.length === 0 ? NO_PORTS : share(this.#ports, JSON.stringify(ports), () => ports);
  }

  /** Any JSON data. */
  data<T>(value: T): T {
    return share(this.#data, JSON.stringify(value), () => value, MAX_SHARED_DATA) as T;
  }
}

function share<T>(known: Map<string, T>, key: string, make: () => T, limit: number = MAX_SHARED): T {
  const found = known.get(key);
  if (found !== undefined) return found;
  if (known.size >= limit) known.clear();
  const value = make();
  known.set(key, value);
  return value;
}
