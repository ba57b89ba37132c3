/**
 * What rules have counted on this node, whichever data plane they are of: the sums, and up to where each chain was read. Whoever reads chains
 * goes on from there. So counts outlive a move from one data plane to the other, and with a store the agent.
 */
import type { CountStore } from './count-store.ts';
import type { DataplaneName } from './dataplane-chooser.ts';
import type { SavedChain } from './saved-counts.ts';

import { CountTotals } from './count-totals.ts';

interface CountBookOptions {
  /** Absent: counts end with the agent. */
  readonly store?: CountStore;
  readonly totals?: CountTotals;
}

export class CountBook {
  readonly totals: CountTotals;
  readonly #store: CountStore | undefined;
  readonly #chains = new Map<DataplaneName, () => Iterable<SavedChain>>();
  /** Whose chains were read last. */
  #reader: DataplaneName = 'nftables';
  #loaded: Promise<void> | undefined;
  #saving: Promise<void> | undefined;
  /** Something changed since it was begun. */
  #isBehind = false;

  constructor({ store, totals = new CountTotals() }: CountBookOptions = {}) {
    this.totals = totals;
    this.#store = store;
  }

  /** As they were read last, by this agent or one before it; to be asked before the first is read. */
  async chainsOf(dataplane: DataplaneName, nowMs: number): Promise<Iterable<SavedChain>> {
    this.#loaded ??= this.#load(nowMs);
    await this.#loaded;
    return this.#chains.get(dataplane)?.() ?? [];
  }

  /** They were read, and what they counted is in the sums. Resolves when that is kept; never rejects. */
  keep(dataplane: DataplaneName, chains: () => Iterable<SavedChain>): Promise<void> {
    this.#chains.set(dataplane, chains);
    this.#reader = dataplane;
    return this.#save();
  }

  /** No chain of it stands any more. */
  drop(dataplane: DataplaneName): void {
    if (this.#chains.delete(dataplane)) void this.#save();
  }

  async #load(nowMs: number): Promise<void> {
    const saved = await this.#store?.load();
    if (!saved) return;
    this.totals.restore(saved.totals, nowMs);
    for (const [dataplane, chains] of saved.chains) this.#chains.set(dataplane, () => chains);
  }

  #save(): Promise<void> {
    this.#isBehind = true;
    this.#saving ??= this.#saveAll().finally(() => (this.#saving = undefined));
    return this.#saving;
  }

  async #saveAll(): Promise<void> {
    while (this.#isBehind) {
      this.#isBehind = false;
      const chains = [...this.#chains].map(([dataplane, those]) => [dataplane, those()] as const);
      await this.#store?.save({ totals: this.totals.saved(), chains: new Map(chains) }, this.#reader);
    }
  }
}
