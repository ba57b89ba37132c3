/**
 * Which pod owns each address, kept up to date pod by pod (S-64, S-70..S-73), and whether an address was released by one pod and claimed
 * by another: flows of the first must not become flows of the second.
 */
import type { Pod } from '../policy/model.ts';

import { type ContestedPod, isContested, isEligible, ownerAmong } from '../policy/address-owners.ts';
import { objectKey } from '../policy/model.ts';

/** The two questions that later stages ask. Answers are of now, which is never before the intent that they came with. */
export interface AddressDirectory {
  /** `namespace/name` of the pod whose address (canonical text) it is; undefined: no pod's. */
  ownerOf(address: string): string | undefined;
  /** Whether one of the addresses is a pod's that may have claimed it after the intent of that revision was made. */
  reassignedSince(addresses: ReleasedAddresses | undefined, revision: number): boolean;
}

/** Addresses that left sets because their pods are gone; the latest first. */
export interface ReleasedAddresses {
  readonly addresses: readonly string[];
  readonly before: ReleasedAddresses | undefined;
  /** Of these and those before. */
  readonly count: number;
}

export function withReleased(
  before: ReleasedAddresses | undefined,
  addresses: readonly string[],
): ReleasedAddresses | undefined {
  return addresses.length === 0 ? before : { addresses, before, count: addresses.length + (before?.count ?? 0) };
}

/** Released addresses to remember, 100 bytes or so each. Beyond that any address that a pod claims may be a released one. */
const MAX_RELEASED = 20_000;

/** One address that changed hands, or whose owner's record changed. */
export interface OwnerChange {
  readonly address: string;
  readonly from: Pod | undefined;
  readonly to: Pod | undefined;
}

export class AddressIndex implements AddressDirectory {
  readonly #pods = new Map<string, Pod>();
  /** Nearly always one claimant: then it stands alone, without a list around it. */
  readonly #claims = new Map<string, Pod | readonly Pod[]>();
  readonly #excluded = new Set<string>();
  /** So that an owner stays the same object while its claimants do. */
  readonly #contested = new Map<string, ContestedPod>();
  /** Whose pod is gone. */
  readonly #released = new Set<string>();
  #isEveryReleaseKnown = true;
  #revision: number;
  /** The first revision that shows the latest claim of a released address. Before the first one anything may have happened. */
  #reusedIn: number;

  constructor(firstRevision: number) {
    this.#revision = firstRevision;
    this.#reusedIn = firstRevision;
  }

  /** Of the intent that shows all changes so far. */
  get revision(): number {
    return this.#revision;
  }

  /** What changes from now on shows in a later intent. */
  advance(): void {
    this.#revision++;
  }

  ownerOf(address: string): string | undefined {
    const owner = this.owner(address);
    return owner && objectKey(owner);
  }

  reassignedSince(released: ReleasedAddresses | undefined, revision: number): boolean {
    if (this.#reusedIn < revision) return false;
    for (let each = released; each; each = each.before)
      if (each.addresses.some((address) => this.owner(address) !== undefined)) return true;
    return false;
  }

  /** Remembers what was released. Returns whether a pod claimed an address that may have been released before. */
  noteReuse({ address, from, to }: OwnerChange): boolean {
    if (!to) this.#release(address);
    if (!to || from) return false;
    if (!this.#released.delete(address) && this.#isEveryReleaseKnown) return false;
    this.#reusedIn = this.#revision;
    return true;
  }

  #release(address: string): void {
    this.#released.add(address);
    if (this.#released.size <= MAX_RELEASED) return;
    this.#released.clear();
    this.#isEveryReleaseKnown = false;
  }

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
