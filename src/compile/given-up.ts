/** Addresses that have lost their pod, so that it can be told whether any of them got another one. */

/** 100 bytes or so each. Beyond that any address that gets a pod may have had one before. */
const MAX_REMEMBERED = 20_000;

export class GivenUpAddresses {
  readonly #addresses = new Set<string>();
  #isWhole = true;
  #ownership = {};

  /** Another object once an address that was given up has a pod again. */
  get ownership(): object {
    return this.#ownership;
  }

  giveUp(address: string): void {
    this.#addresses.add(address);
    if (this.#addresses.size <= MAX_REMEMBERED) return;
    this.#addresses.clear();
    this.#isWhole = false;
  }

  /** The address has a pod again. Returns whether it may have had one before. */
  take(address: string): boolean {
    if (!this.#addresses.delete(address) && this.#isWhole) return false;
    this.#ownership = {};
    return true;
  }
}
