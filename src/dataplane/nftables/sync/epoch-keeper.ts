/**
 * Which epoch is in force, and when another one begins: with whatever takes a permission away (free-epochs.ts says which may be next).
 * Outlives the table, as flows keep their stamps. Both families have one epoch: a packet is asked for one mark, whatever its family.
 */
import type { AddressDirectory, ReleasedAddresses } from '../../../compile/address-directory.ts';
import { withReleased } from '../../../compile/address-directory.ts';
import { FAMILIES, type Family } from '../../../core/vocabulary.ts';
import type { EpochSource } from '../../free-epochs.ts';
import { EVERY_PACKET, type MarkBits, nextEpoch } from '../../mark-bits.ts';
import { type InForce, readEpoch, readReleased } from '../plan/epochs.ts';
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
export interface NextEpoch extends InForce {
  readonly isAnother: boolean;
  readonly confirm: () => void;
}

export class EpochKeeper {
  readonly #options: EpochKeeperOptions;
  #epoch: number | undefined;
  /** Addresses that left sets since the last epoch; 'unknown': an agent before this one saw them leave. */
  #released: Partial<Record<Family, ReleasedAddresses | 'unknown'>> = {};
  #releasedIn = 0;
  /** Live flows have to be judged again, as soon as another epoch may begin. */
  #isWaiting = false;
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
    return !this.#isWaiting;
  }

  /** What a table says that was read: it may be another agent's, of before. */
  found(table: Table): void {
    const epoch = readEpoch(table, this.#options.marks);
    if (epoch === undefined) return;
    this.#epoch = epoch;
    for (const family of readReleased(table)) this.#released[family] ??= 'unknown';
  }

  /** Before the first sync that may begin one. */
  async look(resync: boolean): Promise<void> {
    const { freeEpochs } = this.#options;
    freeEpochs?.inForce('both', this.#epoch);
    await freeEpochs?.firstLook(['both']);
    if (resync) freeEpochs?.recheck('both');
  }

  /** `revoked`: 'all' where it is not known what changed. */
  next(revoked: Revoked | 'all' | 'nothing', directory: AddressDirectory, revision: number): NextEpoch {
    const isAnother = this.#epoch !== undefined && this.#advances(revoked, directory);
    const isWaiting = !isAnother && (this.#isWaiting || (typeof revoked === 'object' && revoked.bySets));
    const released = isAnother ? {} : this.#releasedWith(revoked);
    const epoch = isAnother || this.#epoch === undefined ? this.#following() : this.#epoch;
    return {
      epoch,
      isAnother,
      released: new Set(FAMILIES.filter((family) => released[family] !== undefined)),
      confirm: () => {
        this.#epoch = epoch;
        this.#released = released;
        this.#releasedIn = revision;
        this.#isWaiting = isWaiting;
        if (isAnother) this.#beganMs = this.#options.now();
        this.#lookAhead(epoch);
      },
    };
  }

  #advances(revoked: Revoked | 'all' | 'nothing', directory: AddressDirectory): boolean {
    const released = Object.values(this.#released);
    if (released.some((each) => each === 'unknown' || directory.reassignedSince(each, this.#releasedIn))) return true;
    if (this.#isWaiting && !this.#mayWait()) return true;
    if (this.#isFreeAgain()) return true;
    if (revoked === 'nothing') return false;
    if (revoked === 'all' || revoked.byRules) return true;
    return revoked.bySets && !this.#mayWait();
  }

  /** Every packet of live flows is judged now, and need not be any longer. */
  #isFreeAgain(): boolean {
    const { freeEpochs } = this.#options;
    return this.#epoch === EVERY_PACKET && freeEpochs !== undefined && freeEpochs.next('both') !== EVERY_PACKET;
  }

  #mayWait(): boolean {
    return this.#options.after !== undefined && this.#options.now() < this.#beganMs + EPOCH_GAP_MS;
  }

  #releasedWith(revoked: Revoked | 'all' | 'nothing'): Partial<Record<Family, ReleasedAddresses | 'unknown'>> {
    const released = { ...this.#released };
    if (typeof revoked !== 'object') return released;
    for (const family of FAMILIES) {
      const before = released[family];
      if (before === 'unknown') continue;
      const now = withReleased(before, revoked.released[family]);
      if (now) released[family] = now;
    }
    return released;
  }

  #following(): number {
    const { firstEpoch, freeEpochs, marks } = this.#options;
    // Live flows may carry stamps of rules that stood elsewhere before.
    if (freeEpochs) return freeEpochs.next('both');
    return this.#epoch === undefined ? firstEpoch : nextEpoch(this.#epoch, marks);
  }

  #lookAhead(epoch: number): void {
    const { freeEpochs, now, after } = this.#options;
    freeEpochs?.inForce('both', epoch);
    // Ahead of time: the next sync shall find one.
    freeEpochs?.next('both');
    if (!this.#isWaiting || this.#isDue) return;
    this.#isDue = true;
    after?.(Math.max(0, this.#beganMs + EPOCH_GAP_MS - now()), () => {
      this.#isDue = false;
      if (this.#isWaiting) this.#onDue();
    });
  }
}
