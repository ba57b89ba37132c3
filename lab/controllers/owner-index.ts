/** Which objects each controller owns, kept up to date by watching them. */
import type { ApiStore } from '../api/api-store.ts';
import { type ApiObject, type ObjectRef, refOf, type ResourceName, type ResourceTypes } from '../api/objects.ts';
import { controllerOf } from './pod-state.ts';

export interface Owned {
  readonly resource: ResourceName;
  readonly ref: ObjectRef;
}

export class OwnerIndex {
  /** By the owner's uid, then by `resource/namespace/name`. */
  readonly #owned = new Map<string, Map<string, { readonly resource: ResourceName; readonly object: ApiObject }>>();

  /** Follows one resource; returns a function that stops. Register before listeners that ask the index. */
  follow(store: ApiStore, resource: ResourceName): () => void {
    return store.watch(resource, ({ type, object, previous }) => {
      if (previous) this.#forget(resource, previous);
      if (type !== 'DELETED') this.#remember(resource, object);
    });
  }

  of<R extends ResourceName>(owner: ApiObject, resource: R): readonly ResourceTypes[R][] {
    const owned = [...(this.#owned.get(owner.metadata.uid)?.values() ?? [])];
    return owned.filter((entry) => entry.resource === resource).map((entry) => entry.object as ResourceTypes[R]);
  }

  all(ownerUid: string): readonly Owned[] {
    const owned = [...(this.#owned.get(ownerUid)?.values() ?? [])];
    return owned.map(({ resource, object }) => ({ resource, ref: refOf(object) }));
  }

  #remember(resource: ResourceName, object: ApiObject): void {
    const uid = controllerOf(object)?.uid;
    if (uid === undefined) return;
    const owned = this.#owned.get(uid) ?? new Map<string, { resource: ResourceName; object: ApiObject }>();
    owned.set(objectKey(resource, object), { resource, object });
    this.#owned.set(uid, owned);
  }

  #forget(resource: ResourceName, object: ApiObject): void {
    const uid = controllerOf(object)?.uid ?? '';
    const owned = this.#owned.get(uid);
    owned?.delete(objectKey(resource, object));
    if (owned?.size === 0) this.#owned.delete(uid);
  }
}

/** `resource/namespace/name`; the namespace is empty for cluster-scoped kinds. */
export function objectKey(resource: ResourceName, object: ApiObject): string {
  return `${resource}/${object.metadata.namespace ?? ''}/${object.metadata.name}`;
}
