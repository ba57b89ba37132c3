/** Which pod owns each address, kept up to date pod by pod (S-64, S-70..S-73). */
import type { Pod } from '../policy/model.ts';

import { type ContestedPod, isContested, isEligible, ownerAmong } from '../policy/address-owners.ts';
import { objectKey } from '../policy/model.ts';

/** One address that changed hands, or whose owner's record changed. */
export interface OwnerChange {
  readonly address: string;
  readonly from: Pod | undefined;
  readonly to: Pod | undefined;
}

export class AddressIndex {
  readonly #pods = new Map<string, Pod>();
  /** Nearly always one claimant: then it stands alone, without a list around it. */
  readonly #claims = new Map<string, Pod | readonly Pod[]>();
  readonly #excluded = new Set<string>();
  /** So that an owner stays the same object while its claimants do. */
  readonly #contested = new Map<string, ContestedPod>();

  /** Replaces the pod's record (undefined: it is gone) and tells what that means for addresses. */
  put(key: string, pod: Pod | undefined): readonly OwnerChange[] {
    const before = this.#pods.get(key);
    if (pod) this.#pods.set(key, pod);
    else this.#pods.delete(key);
    const lost = before && isEligible(before) ? before.addresses : [];
    const gained = pod && isEligible(pod) ? pod.addresses : [];
    const touched = lost.length === 0 ? gained : new Set([...lost, ...gained]);
    const changes: OwnerChange[] = [];
    for (const address of touched) {
      const from = this.owner(address);
      if (before && lost.includes(address)) this.#unclaim(address, before);
      if (pod && gained.includes(address)) this.#claim(address, pod);
      const to = this.owner(address);
      if (!isContested(to)) this.#contested.delete(address);
      if (from !== to) changes.push({ address, from, to });
    }
    return changes;
  }

  /** The node's own addresses are nobody's, whatever a pod's status says. */
  exclude(addresses: Iterable<string>): readonly OwnerChange[] {
    const wanted = new Set(addresses);
    const touched = [...this.#excluded, ...wanted].filter(
      (address) => this.#excluded.has(address) !== wanted.has(address),
    );
    const before = new Map(touched.map((address) => [address, this.owner(address)]));
    this.#excluded.clear();
    for (const address of wanted) this.#excluded.add(address);
    return touched.flatMap((address) => {
      const [from, to] = [before.get(address), this.owner(address)];
      return from === to ? [] : [{ address, from, to }];
    });
  }

  owner(address: string): Pod | undefined {
    if (this.#excluded.has(address)) return undefined;
    const claims = this.#claims.get(address);
    if (claims === undefined || !isList(claims)) return claims;
    const owner = ownerAmong(address, claims);
    if (!isContested(owner)) return owner;
    const known = this.#contested.get(address);
    if (known && isSameList(known.claimants, owner.claimants)) return known;
    this.#contested.set(address, owner);
    return owner;
  }

  /** Excluded addresses that pods claim all the same. */
  *wronglyClaimed(): Iterable<readonly [string, Pod]> {
    for (const address of this.#excluded) {
      const claims = this.#claims.get(address);
      if (claims === undefined) continue;
      for (const pod of isList(claims) ? claims : [claims]) yield [address, pod];
    }
  }

  #claim(address: string, pod: Pod): void {
    const claims = this.#claims.get(address);
    if (claims === undefined) this.#claims.set(address, pod);
    else this.#claims.set(address, isList(claims) ? [...claims, pod] : [claims, pod]);
  }

  #unclaim(address: string, pod: Pod): void {
    const claims = this.#claims.get(address);
    if (claims === undefined) return;
    const rest = (isList(claims) ? claims : [claims]).filter((claimant) => objectKey(claimant) !== objectKey(pod));
    if (rest.length === 0) this.#claims.delete(address);
    else this.#claims.set(address, rest.length === 1 ? rest[0]! : rest);
  }
}

function isList(claims: Pod | readonly Pod[]): claims is readonly Pod[] {
  return Array.isArray(claims);
}

function isSameList(a: readonly Pod[], b: readonly Pod[]): boolean {
  return a.length === b.length && a.every((pod, index) => pod === b[index]);
}
