/** When to sync: coalesce, minimum gap, back-off after a failure, periodic comparison with the kernel with jitter. One sync at a time. */

import type { MonotonicClock } from '../core/clock.ts';

export interface LoopOptions {
  /** Runs one sync. `resync`: compare with the kernel first. Must not reject; 'failed' means try again with back-off. */
  readonly sync: (request: { resync: boolean; reasons: readonly string[] }) => Promise<LoopVerdict>;
  readonly clock: MonotonicClock;
  /** 0..1, for jitter. */
  readonly random: () => number;
  /** Least time between the ends of two syncs. An idle loop starts at once. */
  readonly minGapMs: number;
  /** Compared with the kernel at least this often, +-10 %. */
  readonly resyncIntervalMs: number;
}

/**
 * `later`: all went in, but something waits (a set still in use): sync again soon, then less and less often.
 * `partial`: what the kernel refused was left out, the rest went in: try that again with back-off, hold up nothing else.
 * `locked`: somebody held the xtables lock for the whole wait. The wait itself is the back-off: the next one begins at once, so that
 *   we stand in the queue when the lock is free.
 * `failed`: nothing can go in now: every sync waits for the back-off.
 */
export type LoopVerdict = 'done' | 'later' | 'partial' | 'locked' | 'failed';

const BACKOFF_FIRST_MS = 500;
const BACKOFF_MAX_MS = 30_000;
const LATER_MS = 1_000;
/** Should the tool not have waited at all. */
const LOCKED_MS = 100;

const TIMERS = ['wake', 'retry', 'resync'] as const;
type Timer = (typeof TIMERS)[number];

export class SyncLoop {
  readonly #options: LoopOptions;
  readonly #reasons = new Set<string>();
  #resync = true;
  readonly #timers: Partial<Record<Timer, () => void>> = {};
  #lastEndMs = Number.NEGATIVE_INFINITY;
  #failures = 0;
  /** Syncs in a row after which the same waited. */
  #waits = 0;
  #notBeforeMs = Number.NEGATIVE_INFINITY;
  #running: Promise<void> | undefined;
  #stopped = false;
  #lastTurnMs: number;

  constructor(options: LoopOptions) {
    this.#options = options;
    this.#lastTurnMs = options.clock.now();
  }

  /** Asks for a sync; any number of calls before it starts are one sync. `resync` asks for a comparison with the kernel. */
  request(reason: string, resync = false): void {
    if (this.#stopped) return;
    this.#reasons.add(reason);
    this.#resync ||= resync;
    this.#schedule();
  }

  /** Stops for good; resolves when a sync under way has ended. */
  async stop(): Promise<void> {
    this.#stopped = true;
    for (const timer of TIMERS) this.#cancel(timer);
    await this.#running;
  }

  /** Consecutive failed syncs. */
  get failures(): number {
    return this.#failures;
  }

  /** Monotonic time of the last sign of life, for the health check. */
  get lastTurnMs(): number {
    return this.#lastTurnMs;
  }

  #schedule(): void {
    if (this.#stopped || this.#running || this.#timers.wake) return;
    const { clock, minGapMs } = this.#options;
    const startMs = Math.max(this.#lastEndMs + minGapMs, this.#notBeforeMs);
    this.#arm('wake', Math.max(0, startMs - clock.now()), () => {
      this.#running = this.#sync().finally(() => {
        this.#running = undefined;
        if (this.#reasons.size > 0) this.#schedule();
      });
    });
  }

  async #sync(): Promise<void> {
    const { clock } = this.#options;
    this.#lastTurnMs = clock.now();
    const request = { resync: this.#resync, reasons: [...this.#reasons].sort() };
    this.#reasons.clear();
    this.#resync = false;
    const verdict = await this.#options.sync(request);
    this.#lastEndMs = clock.now();
    this.#lastTurnMs = this.#lastEndMs;
    this.#settle(verdict);
    if (request.resync || !this.#timers.resync) this.#scheduleResync();
  }

  #settle(verdict: LoopVerdict): void {
    const { clock } = this.#options;
    this.#cancel('retry');
    this.#notBeforeMs = Number.NEGATIVE_INFINITY;
    if (verdict === 'done' || verdict === 'later') this.#failures = 0;
    if (verdict !== 'later') this.#waits = 0;
    if (verdict === 'done') return;
    const delay = this.#delayAfter(verdict);
    if (verdict === 'later') this.#waits++;
    else this.#failures++;
    if (verdict === 'failed') this.#notBeforeMs = clock.now() + delay;
    this.#arm('retry', delay, () => this.request('retry', verdict !== 'later'));
  }

  #delayAfter(verdict: Exclude<LoopVerdict, 'done'>): number {
    switch (verdict) {
      case 'later':
        return Math.min(BACKOFF_MAX_MS, LATER_MS * 2 ** this.#waits);
      case 'locked':
        return LOCKED_MS;
      case 'partial':
      case 'failed':
        return Math.min(BACKOFF_MAX_MS, BACKOFF_FIRST_MS * 2 ** this.#failures) * (0.5 + this.#options.random() / 2);
    }
  }

  #scheduleResync(): void {
    const { random, resyncIntervalMs } = this.#options;
    this.#arm('resync', resyncIntervalMs * (0.9 + random() * 0.2), () => this.request('resync', true));
  }

  #arm(timer: Timer, delayMs: number, callback: () => void): void {
    this.#cancel(timer);
    if (this.#stopped) return;
    this.#timers[timer] = this.#options.clock.after(delayMs, () => {
      delete this.#timers[timer];
      callback();
    });
  }

  #cancel(timer: Timer): void {
    this.#timers[timer]?.();
    delete this.#timers[timer];
  }
}
