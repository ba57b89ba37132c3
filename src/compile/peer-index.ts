/**
 * Selectors -> the pods they match, with the addresses those pods own.
 * Built once per snapshot; each distinct (namespaces, pods) selector pair is evaluated once, over the namespaces it can reach.
 */
import type { Family } from '../net/ip.ts';
import type { ClusterSnapshot, Pod, Selector } from '../policy/model.ts';

import { addressOwners } from '../policy/address-owners.ts';
import { matches, selectorKey } from '../policy/selector.ts';

/** A pod that can be a subject or a peer, with the addresses it owns (S-70, S-73). */
export interface OwnedPod {
  readonly pod: Pod;
  readonly addresses: readonly string[];
}

/** Which pods a peer entry selects: in the one namespace named, or in every namespace that matches. */
export interface PodSelection {
  readonly namespaces: { readonly name: string } | Selector;
  readonly pods: Selector;
}

export class PeerIndex {
  readonly #snapshot: ClusterSnapshot;
  readonly #byNamespace = new Map<string, OwnedPod[]>();
  readonly #namespacesByKey = new Map<string, readonly string[]>();
  readonly #membersByKey = new Map<string, readonly OwnedPod[]>();
  readonly #liveAddresses: ReadonlyMap<string, Pod>;

  /** `excluded`: addresses that are never a pod's, whatever its status says: the node's own (S-64). */
  constructor(snapshot: ClusterSnapshot, excluded: ReadonlySet<string>) {
    this.#snapshot = snapshot;
    this.#liveAddresses = addressOwners(snapshot.pods.values());
    const addressesOf = new Map<Pod, string[]>();
    for (const [address, pod] of this.#liveAddresses) {
      if (excluded.has(address)) continue;
      const known = addressesOf.get(pod);
      if (known) known.push(address);
      else addressesOf.set(pod, [address]);
    }
    for (const [pod, addresses] of addressesOf) {
      const neighbours = this.#byNamespace.get(pod.namespace);
      const owned = { pod, addresses: addresses.sort() };
      if (neighbours) neighbours.push(owned);
      else this.#byNamespace.set(pod.namespace, [owned]);
    }
  }

  isLive(address: string): boolean {
    return this.#liveAddresses.has(address);
  }

  /** Every pod that owns an address. */
  *all(): Iterable<OwnedPod> {
    for (const pods of this.#byNamespace.values()) yield* pods;
  }

  members(selection: PodSelection): readonly OwnedPod[] {
    const key = selectionKey(selection);
    let members = this.#membersByKey.get(key);
    if (!members) {
      members = this.#evaluate(selection);
      this.#membersByKey.set(key, members);
    }
    return members;
  }

  #evaluate(selection: PodSelection): readonly OwnedPod[] {
    const found: OwnedPod[] = [];
    for (const namespace of this.#namespaceNames(selection.namespaces)) {
      for (const owned of this.#byNamespace.get(namespace) ?? []) {
        if (matches(selection.pods, owned.pod.labels)) found.push(owned);
      }
    }
    return found;
  }

  #namespaceNames(namespaces: PodSelection['namespaces']): Iterable<string> {
    if ('name' in namespaces) return [namespaces.name];
    // `{}` also reaches pods whose Namespace object has not been seen (S-22).
    if (namespaces.kind === 'all-of' && namespaces.requirements.length === 0) return this.#byNamespace.keys();
    const key = selectorKey(namespaces);
    let names = this.#namespacesByKey.get(key);
    if (!names) {
      names = [...this.#snapshot.namespaces.values()]
        .filter((ns) => matches(namespaces, ns.labels))
        .map((ns) => ns.name);
      this.#namespacesByKey.set(key, names);
    }
    return names;
  }
}

/** Unambiguous text of a selection; equal selections give equal text. */
export function selectionKey(selection: PodSelection): string {
  const namespaces =
    'name' in selection.namespaces ? { name: selection.namespaces.name } : selectorKey(selection.namespaces);
  return JSON.stringify([namespaces, selectorKey(selection.pods)]);
}

export function familyOf(address: string): Family {
  return address.includes(':') ? 6 : 4;
}
