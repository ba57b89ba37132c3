/** When pods began to show their addresses, as far as the agent saw it (S-73). */
import type { Pod } from '../policy/model.ts';
import { addressSince } from '../policy/address-owners.ts';
import type { History } from './store.ts';

/**
 * A logical clock, since nodes' clocks differ: what an event brings is later than all that was known before it. In a list it is the newest
 * transition time of the pod's conditions, and later than all that was known before the list. Conditions of a pod whose addresses stay
 * change nothing.
 */
export class AddressHistory implements History<Pod> {
  #latest = 0;
  /** `#latest` before the list that goes on. */
  #beforeList = 0;

  succeed(before: Pod | undefined, after: Pod, isListed: boolean): Pod {
    const fresh = after.addresses.filter((address) => !before?.addresses.includes(address));
    const now = fresh.length > 0 ? this.#tick(after, isListed) : 0;
    const since = after.addresses.map((address) =>
      before?.addresses.includes(address) ? addressSince(before, address) : now,
    );
    const [first = 0] = since;
    const addressesSince = since.every((each) => each === first) ? first : since;
    return addressesSince === after.addressesSince ? after : { ...after, addressesSince };
  }

  endList(): void {
    this.#beforeList = this.#latest;
  }

  #tick({ addressesSince }: Pod, isListed: boolean): number {
    if (!isListed) {
      this.#latest++;
      this.#beforeList = this.#latest;
      return this.#latest;
    }
    const listed = typeof addressesSince === 'number' ? addressesSince : 0;
    const now = Math.max(listed, this.#beforeList + 1);
    this.#latest = Math.max(this.#latest, now);
    return now;
  }
}
