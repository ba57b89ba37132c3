/**
 * When dead rules (objects that nothing leads to) are taken out of the kernel: soon after the last change of rules, and never long after the first
 * that left some. Meanwhile they cost a table that is a little larger, and a step more for the packets of what changed.
 */
import type { MonotonicClock } from '../core/clock.ts';

/** Without a change of rules for so long, nobody waits. */
export const REST_MS = 300;
/**
 * However many changes there are; so long as well where rules were taken out this long ago or less, as each time is a commit that a change may
 * wait for. Longer spares nothing (docs/decisions/adding-before-deleting.md).
 */
export const LONGEST_MS = 1_000;
/** More than so many are taken out by the next commit. */
export const MAX_DEAD_RULES = 2_000;

export class TidyTimer {
  readonly #clock: MonotonicClock;
  readonly #ahead: () => Promise<void> | undefined;
  #onDue = (): void => {};
  #cancel = (): void => {};
  /** Since when there are any. */
  #sinceMs: number | undefined;
  #dead = 0;
  #tidiedMs = Number.NEGATIVE_INFINITY;
  #isDue = false;

  /** `ahead`: what is to be done before rules are deleted and need not hold up a sync. Never rejects. */
  constructor(clock: MonotonicClock, ahead: () => Promise<void> | undefined = () => undefined) {
    this.#clock = clock;
    this.#ahead = ahead;
  }

  /** Called once when dead rules have waited long enough. */
  onDue(callback: () => void): void {
    this.#onDue = callback;
  }

  /** The next commit has to leave none. */
  get isDue(): boolean {
    return this.#isDue || this.#dead > MAX_DEAD_RULES;
  }

  /** `dead`: rules that are left after a sync; 0 also where it is not known, as the next sync then reads the kernel. */
  synced(dead: number): void {
    const isMore = dead > this.#dead;
    const nowMs = this.#clock.now();
    if (dead === 0 && this.#dead > 0) this.#tidiedMs = nowMs;
    this.#dead = dead;
    if (dead > 0 && !isMore) return;
    this.#cancel();
    this.#cancel = (): void => {};
    if (dead === 0) {
      this.#sinceMs = undefined;
      this.#isDue = false;
      return;
    }
    this.#sinceMs ??= nowMs;
    const restMs = nowMs - this.#tidiedMs > LONGEST_MS ? REST_MS : LONGEST_MS;
    const waitMs = Math.max(0, Math.min(restMs, this.#sinceMs + LONGEST_MS - nowMs));
    this.#cancel = this.#clock.after(waitMs, () => void this.#fallDue());
  }

  async #fallDue(): Promise<void> {
    const dead = this.#dead;
    await this.#ahead();
    if (this.#dead === 0 || this.#sinceMs === undefined) return;
    // Rules changed meanwhile: it is waited for their rest, but not without end.
    if (this.#dead > dead && this.#clock.now() < this.#sinceMs + LONGEST_MS) return;
    this.#isDue = true;
    this.#onDue();
  }
}
