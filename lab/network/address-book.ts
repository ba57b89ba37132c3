/** Who has which address. In memory only: checks and allocates, and changes nothing when it throws. */
import type { Family } from '../../src/core/vocabulary.ts';
import { canonicalAddress, familyOf } from '../../src/net/ip.ts';
import { isPodAddressOf, nextPodNumber, outsideAddress, podAddress } from './address-plan.ts';
import type { EndpointKey, Wiring } from './types.ts';

export interface AddressNode {
  readonly name: string;
  readonly index: number;
}

export class AddressBook {
  readonly #families: readonly Family[];
  readonly #wiring: Wiring;
  readonly #owners = new Map<string, EndpointKey>();
  readonly #lastPodNumber = new Map<number, number>();

  constructor(families: readonly Family[], wiring: Wiring) {
    this.#families = families;
    this.#wiring = wiring;
  }

  /** Reserves `wanted` and the next free address of each family it lacks; in the lab's order of families. */
  takeForPod(owner: EndpointKey, node: AddressNode, wanted: readonly string[]): readonly string[] {
    const given = this.#checkForPod(owner, node, wanted);
    const missing = this.#families.filter((family) => !given.some((address) => familyOf(address) === family));
    const number = missing.length > 0 ? this.#nextNumber(owner, node, missing) : 0;
    const addresses = this.#families.map(
      (family) => given.find((address) => familyOf(address) === family) ?? podAddress(node.index, family, number),
    );
    this.#reserve(owner, addresses);
    return addresses;
  }

  /** Reserves exactly `wanted` instead of what `owner` has. */
  replaceForPod(owner: EndpointKey, node: AddressNode, wanted: readonly string[]): readonly string[] {
    const addresses = this.#checkForPod(owner, node, wanted);
    this.release(owner);
    this.#reserve(owner, addresses);
    return addresses;
  }

  /** Reserves `wanted`, or one address per family out of the outside range. */
  takeForOutside(owner: EndpointKey, wanted: readonly string[] | undefined): readonly string[] {
    const addresses = wanted?.map((text) => this.#check(owner, text)) ?? this.#nextOutside(owner);
    this.#reserve(owner, addresses);
    return addresses;
  }

  release(owner: EndpointKey): void {
    for (const [address, holder] of this.#owners) if (holder === owner) this.#owners.delete(address);
  }

  #reserve(owner: EndpointKey, addresses: readonly string[]): void {
    for (const address of addresses) this.#owners.set(address, owner);
  }

  #checkForPod(owner: EndpointKey, node: AddressNode, wanted: readonly string[]): string[] {
    const addresses = wanted.map((text) => this.#check(owner, text));
    const families = new Set(addresses.map(familyOf));
    if (families.size !== addresses.length) {
      throw new Error(`${owner}: addresses: at most one per family, not ${addresses.join(', ')}`);
    }
    const foreign = addresses.find((address) => !isPodAddressOf(node.index, address));
    if (this.#wiring === 'bridge' && foreign !== undefined) {
      throw new Error(
        `${owner}: addresses: ${foreign} is not in a pod CIDR of node ${node.name}, and its bridge has no other`,
      );
    }
    return this.#families.flatMap((family) => addresses.filter((address) => familyOf(address) === family));
  }

  #check(owner: EndpointKey, text: string): string {
    const address = canonicalAddress(text);
    if (address === undefined) throw new Error(`${owner}: addresses: ${text} is not an IP address`);
    if (!this.#families.includes(familyOf(address))) {
      throw new Error(`${owner}: addresses: ${address} is of a family that this lab does not have`);
    }
    const holder = this.#owners.get(address);
    if (holder !== undefined && holder !== owner) {
      throw new Error(`${owner}: addresses: ${address} is held by ${holder}`);
    }
    return address;
  }

  #nextNumber(owner: EndpointKey, node: AddressNode, families: readonly Family[]): number {
    const isFree = (number: number): boolean =>
      families.every((family) => !this.#owners.has(podAddress(node.index, family, number)));
    const number = nextPodNumber(this.#lastPodNumber.get(node.index), isFree);
    if (number === undefined) throw new Error(`${owner}: node ${node.name} has no free pod address`);
    this.#lastPodNumber.set(node.index, number);
    return number;
  }

  #nextOutside(owner: EndpointKey): string[] {
    for (let index = 0; ; index++) {
      const addresses = this.#families.map((family) => outsideAddress(index, family));
      if (addresses.includes(undefined)) throw new Error(`${owner}: no free outside address`);
      if (addresses.every((address) => !this.#owners.has(address!))) return addresses as string[];
    }
  }
}
