/**
 * Objects by resource, namespace and name, with one global version counter and a bounded history of changes per resource.
 * Knows nothing of the API's rules. Objects are deeply frozen; every change is announced in order.
 */
import { freezeJson } from './json.ts';
import type { ApiObject, ObjectRef, ResourceName } from './objects.ts';

export interface StoredEvent {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED';
  readonly version: number;
  /** The object after the change; for DELETED its last state, with the version of the deletion. */
  readonly object: ApiObject;
  /** The object before the change; absent for ADDED. */
  readonly previous?: ApiObject;
}

export type StorageListener = (resource: ResourceName, event: StoredEvent) => void;

interface Shelf {
  readonly byNamespace: Map<string, Map<string, ApiObject>>;
  size: number;
  /** All objects in the order of lists (namespace/name); undefined after a change. */
  sorted: readonly ApiObject[] | undefined;
  /** Oldest first. */
  events: StoredEvent[];
  /** Position of `events[0]` since the start. */
  firstPosition: number;
  /** Changes up to this version are forgotten. */
  compactedVersion: number;
}

export interface StorageOptions {
  /** Changes kept per resource. */
  readonly historyLimit: number;
  /** The counter starts here; a test of an API server that lost its memory starts lower than the last one ended. */
  readonly firstVersion: number;
}

export class Storage {
  readonly #shelves = new Map<ResourceName, Shelf>();
  readonly #listeners = new Set<StorageListener>();
  readonly #pending: { resource: ResourceName; event: StoredEvent }[] = [];
  readonly #historyLimit: number;
  readonly #firstVersion: number;
  #announcing = false;
  #version: number;

  constructor(options: StorageOptions) {
    this.#historyLimit = options.historyLimit;
    this.#firstVersion = options.firstVersion;
    this.#version = options.firstVersion;
  }

  /** Version of the last change. */
  get version(): number {
    return this.#version;
  }

  get(resource: ResourceName, ref: ObjectRef): ApiObject | undefined {
    return this.#shelf(resource)
      .byNamespace.get(ref.namespace ?? '')
      ?.get(ref.name);
  }

  count(resource: ResourceName, namespace?: string): number {
    const shelf = this.#shelf(resource);
    return namespace === undefined ? shelf.size : (shelf.byNamespace.get(namespace)?.size ?? 0);
  }

  /** Objects sorted by namespace, then name. The array is a stable picture: later changes do not show in it. */
  list(resource: ResourceName, namespace?: string): readonly ApiObject[] {
    const shelf = this.#shelf(resource);
    if (namespace !== undefined) return sortedByName(shelf.byNamespace.get(namespace));
    if (!shelf.sorted) {
      const namespaces = [...shelf.byNamespace.keys()].sort();
      shelf.sorted = namespaces.flatMap((name) => sortedByName(shelf.byNamespace.get(name)));
    }
    return shelf.sorted;
  }

  /** Stores the object under a new version, whatever was there before. */
  put(resource: ResourceName, object: ApiObject): ApiObject {
    const shelf = this.#shelf(resource);
    const namespace = object.metadata.namespace ?? '';
    const version = this.#version + 1;
    const stored = freezeJson(withVersion(object, version));
    const objects = shelf.byNamespace.get(namespace) ?? new Map<string, ApiObject>();
    shelf.byNamespace.set(namespace, objects);
    const previous = objects.get(object.metadata.name);
    this.#version = version;
    objects.set(object.metadata.name, stored);
    shelf.sorted = undefined;
    if (previous) {
      this.#record(resource, shelf, { type: 'MODIFIED', version, object: stored, previous });
    } else {
      shelf.size += 1;
      this.#record(resource, shelf, { type: 'ADDED', version, object: stored });
    }
    return stored;
  }

  /** Returns the last state with the version of the deletion; undefined if there was nothing. */
  remove(resource: ResourceName, ref: ObjectRef): ApiObject | undefined {
    const shelf = this.#shelf(resource);
    const objects = shelf.byNamespace.get(ref.namespace ?? '');
    const previous = objects?.get(ref.name);
    if (!objects || !previous) return undefined;
    this.#version += 1;
    objects.delete(ref.name);
    if (objects.size === 0) shelf.byNamespace.delete(ref.namespace ?? '');
    shelf.size -= 1;
    shelf.sorted = undefined;
    const object = freezeJson(withVersion(previous, this.#version));
    this.#record(resource, shelf, { type: 'DELETED', version: this.#version, object, previous });
    return object;
  }

  /** Position in the history just after `version`; undefined when changes after `version` are forgotten already. */
  positionAfter(resource: ResourceName, version: number): number | undefined {
    const shelf = this.#shelf(resource);
    if (version < shelf.compactedVersion) return undefined;
    let low = 0;
    let high = shelf.events.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((shelf.events[middle]?.version ?? 0) <= version) low = middle + 1;
      else high = middle;
    }
    return shelf.firstPosition + low;
  }

  /** The position the next change will get. */
  endPosition(resource: ResourceName): number {
    const shelf = this.#shelf(resource);
    return shelf.firstPosition + shelf.events.length;
  }

  /** The change at a position: `forgotten` if dropped from the history, undefined if it is yet to come. */
  eventAt(resource: ResourceName, position: number): StoredEvent | 'forgotten' | undefined {
    const shelf = this.#shelf(resource);
    return position < shelf.firstPosition ? 'forgotten' : shelf.events[position - shelf.firstPosition];
  }

  /** Version of the last change of this resource; of the last forgotten one if none is kept. */
  lastVersion(resource: ResourceName): number {
    const shelf = this.#shelf(resource);
    return shelf.events.at(-1)?.version ?? shelf.compactedVersion;
  }

  /** The oldest version a watch can start from. */
  compactedVersion(resource: ResourceName): number {
    return this.#shelf(resource).compactedVersion;
  }

  /** Forgets all history, as etcd compaction does. Watches that have seen everything go on. */
  compact(): void {
    for (const shelf of this.#shelves.values()) {
      shelf.firstPosition += shelf.events.length;
      shelf.events = [];
      shelf.compactedVersion = this.#version;
    }
  }

  /** Calls `listener` after each change, in the order of versions, also for changes made by listeners. */
  subscribe(listener: StorageListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  #shelf(resource: ResourceName): Shelf {
    let shelf = this.#shelves.get(resource);
    if (!shelf) {
      shelf = {
        byNamespace: new Map(),
        size: 0,
        sorted: undefined,
        events: [],
        firstPosition: 0,
        compactedVersion: this.#firstVersion,
      };
      this.#shelves.set(resource, shelf);
    }
    return shelf;
  }

  #record(resource: ResourceName, shelf: Shelf, event: StoredEvent): void {
    shelf.events.push(event);
    // Dropping the older half now and then costs O(1) per change on average.
    if (shelf.events.length > 2 * this.#historyLimit) {
      const dropped = shelf.events.length - this.#historyLimit;
      shelf.compactedVersion = shelf.events[dropped - 1]?.version ?? shelf.compactedVersion;
      shelf.events = shelf.events.slice(dropped);
      shelf.firstPosition += dropped;
    }
    this.#pending.push({ resource, event });
    if (!this.#announcing) this.#announce();
  }

  #announce(): void {
    this.#announcing = true;
    try {
      for (let next = 0; next < this.#pending.length; next += 1) {
        const item = this.#pending[next];
        if (item) for (const listener of this.#listeners) callListener(listener, item.resource, item.event);
      }
    } finally {
      this.#pending.length = 0;
      this.#announcing = false;
    }
  }
}

/** The change is made already: a listener's bug must not look like a failed write, but it must not go unseen either. */
function callListener(listener: StorageListener, resource: ResourceName, event: StoredEvent): void {
  try {
    listener(resource, event);
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
  }
}

function withVersion(object: ApiObject, version: number): ApiObject {
  return { ...object, metadata: { ...object.metadata, resourceVersion: String(version) } };
}

function sortedByName(objects: ReadonlyMap<string, ApiObject> | undefined): ApiObject[] {
  if (!objects) return [];
  return [...objects.values()].sort((a, b) => (a.metadata.name < b.metadata.name ? -1 : 1));
}
