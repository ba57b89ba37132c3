/** How long syncs pause, for them to keep a share of one core: what they use is a debt, which that share pays back. */

/** `members`: only who is in a set may have changed. `rules`: anything may have. */
export type Lane = 'members' | 'rules';

interface PaceOptions {
  /** Of one core, 0..1: what syncs may use of it in the long run, both lanes together. */
  readonly share: number;
}

/**
 * Milliseconds of CPU that a lane may owe and start all the same. On a quiet node that is a few policies edited one after the other,
 * and a hundred pods that come or go, each followed at once.
 */
export const BURST_MS = 100;
/**
 * No lane pauses longer for its debts, and what it then still owes beyond a burst is let go: what changed before holds up a change for no
 * longer than this. Where one sync takes more than the share of this time (50 ms at a fifth), syncs without end take more than the share.
 */
export const LONGEST_PAUSE_MS = 250;

/**
 * A token bucket for each lane. Both are paid from one share: in equal parts while both have debts, so that neither waits for the other's
 * more than twice as long as for its own; all of it to one while the other has none.
 */
export class Pace {
  readonly #share: number;
  /** Milliseconds of CPU, as of `#paidMs`. */
  readonly #debts: Record<Lane, number> = { members: 0, rules: 0 };
  readonly #lastEndMs: Record<Lane, number> = { members: Number.NEGATIVE_INFINITY, rules: Number.NEGATIVE_INFINITY };
  #paidMs = Number.NEGATIVE_INFINITY;

  constructor({ share }: PaceOptions) {
    this.#share = share;
  }

  /** The earliest time at which a sync of the lane may start. */
  startMs(lane: Lane, nowMs: number): number {
    this.#pay(nowMs);
    const excess = this.#debts[lane] - BURST_MS;
    if (excess <= 0) return nowMs;
    const other = this.#debts[otherThan(lane)];
    const paidAtMs = nowMs + Math.min(2 * excess, excess + other) / this.#share;
    return Math.max(nowMs, Math.min(paidAtMs, this.#lastEndMs[lane] + LONGEST_PAUSE_MS));
  }

  started(lane: Lane, nowMs: number): void {
    this.#pay(nowMs);
    this.#debts[lane] = Math.min(this.#debts[lane], BURST_MS);
  }

  /** `usedMs`: of CPU. */
  ended(lane: Lane, nowMs: number, usedMs: number): void {
    this.charge(lane, nowMs, usedMs);
    this.#lastEndMs[lane] = nowMs;
  }

  /** For work that follows from what the lane wrote before: it is paid for, and what changes next waits no longer for its end. */
  charge(lane: Lane, nowMs: number, usedMs: number): void {
    this.#pay(nowMs);
    this.#debts[lane] += usedMs;
  }

  #pay(nowMs: number): void {
    if (nowMs <= this.#paidMs) return;
    const paid = (nowMs - this.#paidMs) * this.#share;
    this.#paidMs = nowMs;
    const { members, rules } = this.#debts;
    this.#debts.members = Math.max(0, members - Math.max(paid / 2, paid - rules));
    this.#debts.rules = Math.max(0, rules - Math.max(paid / 2, paid - members));
  }
}

function otherThan(lane: Lane): Lane {
  return lane === 'members' ? 'rules' : 'members';
}
