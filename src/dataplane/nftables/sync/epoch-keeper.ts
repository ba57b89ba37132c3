/**
 * Which epoch is in force, and when another one begins: with whatever takes a permission away (free-epochs.ts says which may be next).
 * Outlives the table, as flows keep their stamps.
 */
import type { AddressDirectory, ReleasedAddresses } from '../../../compile/address-directory.ts';
import { withReleased } from '../../../compile/address-directory.ts';
import { FAMILIES, type Family } from '../../../core/vocabulary.ts';
import type { EpochSource } from '../../free-epochs.ts';
import { type MarkBits, nextEpoch } from '../../mark-bits.ts';
import { type Epochs, readEpoch, readReleased } from '../plan/epochs.ts';
import type { Revoked } from '../plan/revokes.ts';
import type { Table } from '../table/table.ts';

/**
 * Epochs that begin only because addresses left sets, as where pods of other nodes come and go, are so far apart at least: live flows are
 * judged again after that long at most. After a pause such an epoch begins at once.
 */
export const EPOCH_GAP_MS = 250;

export interface EpochKeeperOptions {
  readonly marks: MarkBits;
  /** To begin with on a host that has none, where no free epochs are known. */
  readonly firstEpoch: number;
  readonly now: () => number;
  /** Absent: the next number is taken, whoever carries it. */
  readonly freeEpochs?: EpochSource;
  /** Calls back once after `ms`. Absent: no epoch waits for the one before. */
  readonly after?: (ms: number, callback: () => void) => () => void;
}

/** What a sync may do: to be confirmed once it is done. */
export interface NextEpochs {
  readonly epochs: Epochs;
  readonly advanced: ReadonlySet<Family>;
  readonly released: ReadonlySet<Family>;
  readonly confirm: () => void;
}

export class EpochKeeper {
  readonly #options: EpochKeeperOptions;
  #epochs: Partial<Record<Family, number>> = {};
  /** Addresses that left sets since the last epoch; 'unknown': an agent before this one saw them leave. */
  #released: Partial<Record<Family, ReleasedAddresses | 'unknown'>> = {};
  #releasedIn = 0;
  /** Live flows have to be judged again, as soon as another epoch may begin. */
  readonly #waiting = new Set<Family>();
  #beganMs = Number.NEGATIVE_INFINITY;
  #isDue = false;
  #onDue = (): void => {};

  constructor(options: EpochKeeperOptions) {
    this.#options = options;
  }

  /** Called when an epoch has waited for long enough. */
  onDue(callback: () => void): void {
    this.#onDue = callback;
  }

  /** Whether no epoch has to begin later. */
  get isSettled(): boolean {
    return this.#waiting.size === 0;
  }

  /** What a table says that was read: it may be another agent's, of before. */
  found(table: Table): void {
    for (const family of FAMILIES) {
      const epoch = readEpoch(table, family, this.#options.marks);
      if (epoch === undefined) continue;
      this.#epochs[family] = epoch;
      if (readReleased(table).has(family)) this.#released[family] ??= 'unknown';
    }
  }

  /** Before the first sync that may begin one. */
  async look(resync: boolean): Promise<void> {
    const { freeEpochs } = this.#options;
    for (const family of FAMILIES) freeEpochs?.inForce(family, this.#epochs[family]);
    await freeEpochs?.firstLook(FAMILIES);
    if (resync) for (const family of FAMILIES) freeEpochs?.recheck(family);
  }

  /** `revoked`: 'all' where it is not known what changed. */
  next(revoked: Revoked | 'all' | 'nothing', directory: AddressDirectory, revision: number): NextEpochs {
    const advanced = new Set(
      FAMILIES.filter((family) => this.#has(family) && this.#advances(family, revoked, directory)),
    );
    const waiting = new Set(FAMILIES.filter((family) => !advanced.has(family) && this.#waits(family, revoked)));
    const released = { ...this.#released };
    for (const family of FAMILIES) {
      if (advanced.has(family)) delete released[family];
      else if (typeof revoked === 'object') {
        const before = released[family];
        if (before !== 'unknown') {
          const now = withReleased(before, revoked.released[family]);
          if (now) released[family] = now;
        }
      }
    }
    const epochs = Object.fromEntries(FAMILIES.map((family) => [family, this.#epochOf(family, advanced)])) as Record<
      Family,
      number
    >;
    return {
      epochs,
      advanced,
      released: new Set(FAMILIES.filter((family) => released[family] !== undefined)),
      confirm: () => this.#confirm(epochs, advanced, waiting, released, revision),
    };
  }

  #has(family: Family): boolean {
    return this.#epochs[family] !== undefined;
  }

  #advances(family: Family, revoked: Revoked | 'all' | 'nothing', directory: AddressDirectory): boolean {
    const released = this.#released[family];
    if (released === 'unknown') return true;
    if (directory.reassignedSince(released, this.#releasedIn)) return true;
    if (this.#waiting.has(family) && !this.#mayWait()) return true;
    if (revoked === 'nothing') return false;
    if (revoked === 'all' || revoked.byRules.has(family)) return true;
    return revoked.bySets.has(family) && !this.#mayWait();
  }

  #waits(family: Family, revoked: Revoked | 'all' | 'nothing'): boolean {
    return this.#waiting.has(family) || (typeof revoked === 'object' && revoked.bySets.has(family));
  }

  #mayWait(): boolean {
    return this.#options.after !== undefined && this.#options.now() < this.#beganMs + EPOCH_GAP_MS;
  }

  #epochOf(family: Family, advanced: ReadonlySet<Family>): number {
    const { firstEpoch, freeEpochs, marks } = this.#options;
    const current = this.#epochs[family];
    if (current !== undefined && !advanced.has(family)) return current;
    // Live flows may carry stamps of rules that stood elsewhere before.
    if (freeEpochs) return freeEpochs.next(family);
    return current === undefined ? firstEpoch : nextEpoch(current, marks);
  }

  #confirm(
    epochs: Epochs,
    advanced: ReadonlySet<Family>,
    waiting: ReadonlySet<Family>,
    released: Partial<Record<Family, ReleasedAddresses | 'unknown'>>,
    revision: number,
  ): void {
    const { freeEpochs, now, after } = this.#options;
    this.#epochs = { ...epochs };
    this.#released = released;
    this.#releasedIn = revision;
    if (advanced.size > 0) this.#beganMs = now();
    this.#waiting.clear();
    for (const family of waiting) this.#waiting.add(family);
    for (const family of FAMILIES) {
      freeEpochs?.inForce(family, epochs[family]);
      // Ahead of time: the next sync shall find one.
      freeEpochs?.next(family);
    }
    if (waiting.size === 0 || this.#isDue) return;
    this.#isDue = true;
    after?.(Math.max(0, this.#beganMs + EPOCH_GAP_MS - now()), () => {
      this.#isDue = false;
      if (this.#waiting.size > 0) this.#onDue();
    });
  }
}
