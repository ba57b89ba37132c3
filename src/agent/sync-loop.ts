/**
 * When to sync: coalesce, pause for what syncs cost, back-off after a failure, periodic comparison with the kernel with jitter. One sync
 * at a time.
 *
 *   request('members') ---> debts of that lane (pace.ts) ---+
 *   request('rules')   ---> debts of that lane -------------+--> one sync of all that is due by then --> its cost becomes a debt
 *   request('compare') ---> at once ------------------------+
 */

import type { MonotonicClock } from '../core/clock.ts';
import { TIDYING } from '../dataplane/dataplane.ts';
import { type Lane, Pace } from './pace.ts';

interface LoopOptions {
  /** Runs one sync. Must not reject; 'failed' means try again with back-off. */
  readonly sync: (request: LoopRequest) => Promise<LoopVerdict>;
  readonly clock: MonotonicClock;
  /** 0..1, for jitter. */
  readonly random: () => number;
  /** Least time from the end of a sync to the next, whatever it cost. */
  readonly minGapMs: number;
  /** Of one core, 0..1: what syncs may use in the long run. The first, and those that compare with the kernel, do not count. */
  readonly share: number;
  /** Milliseconds of CPU used so far, by this process and the commands it ran: waiting (for a lock, for the kernel) is no cost. */
  readonly cpuMs: () => number;
  /** Compared with the kernel at least this often, +-10 %. */
  readonly resyncIntervalMs: number;
}

/** What a sync is for; each does what those before it do as well. `compare`: with the kernel, before anything else. */
const WANTS = ['members', 'rules', 'compare'] as const satisfies readonly (Lane | 'compare')[];
export type Want = (typeof WANTS)[number];

export interface LoopRequest {
  /** Compare with the kernel first. */
  readonly resync: boolean;
  /** `members`: what concerns rules is not to go in yet. */
  readonly lane: Lane;
  readonly reasons: readonly string[];
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
/** Timers know nothing shorter: what is due within it is due. */
const TIMER_MS = 1;

const TIMERS = ['wake', 'retry', 'resync'] as const;
type Timer = (typeof TIMERS)[number];

export class SyncLoop {
  readonly #options: LoopOptions;
  readonly #pace: Pace;
  /** By what is wanted: why. */
  readonly #wanted = new Map<Want, Set<string>>();
  readonly #timers: Partial<Record<Timer, () => void>> = {};
  #isFirst = true;
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
    this.#pace = new Pace(options);
    this.#lastTurnMs = options.clock.now();
  }

  /** Asks for a sync; any number of calls before it starts are one sync. */
  request(reason: string, want: Want = 'rules'): void {
    if (this.#stopped) return;
    const wanted = this.#isFirst ? 'compare' : want;
    const reasons = this.#wanted.get(wanted);
    if (reasons) return void reasons.add(reason);
    this.#wanted.set(wanted, new Set([reason]));
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
    if (this.#stopped || this.#running || this.#wanted.size === 0) return;
    const now = this.#options.clock.now();
    const starts = [...this.#wanted.keys()].map((want) => ({ want, startMs: this.#startMs(want, now) }));
    const first = starts.reduce((a, b) => (b.startMs < a.startMs ? b : a));
    this.#arm('wake', Math.max(0, first.startMs - now), () => {
      this.#running = this.#sync(this.#take(first.want)).finally(() => {
        this.#running = undefined;
        this.#schedule();
      });
    });
  }

  #startMs(want: Want, nowMs: number): number {
    const paidMs = want === 'compare' ? nowMs : this.#pace.startMs(want, nowMs);
    return Math.max(paidMs, this.#lastEndMs + this.#options.minGapMs, this.#notBeforeMs);
  }

  /** All that is due, with what it does besides. `first`: what was due before the others. */
  #take(first: Want): LoopRequest {
    const atMs = this.#options.clock.now() + TIMER_MS;
    const due = WANTS.filter((want) => want === first || (this.#wanted.has(want) && this.#startMs(want, atMs) <= atMs));
    const most = due.at(-1)!;
    const reasons = new Set<string>();
    for (const want of WANTS.slice(0, WANTS.indexOf(most) + 1)) {
      for (const reason of this.#wanted.get(want) ?? []) reasons.add(reason);
      this.#wanted.delete(want);
    }
    return { resync: most === 'compare', lane: most === 'members' ? most : 'rules', reasons: [...reasons].sort() };
  }

  async #sync(request: LoopRequest): Promise<void> {
    const { clock, cpuMs } = this.#options;
    this.#isFirst = false;
    this.#lastTurnMs = clock.now();
    const { resync, lane } = request;
    const isTidying = !resync && request.reasons.every((reason) => reason === TIDYING);
    if (!resync && !isTidying) this.#pace.started(lane, this.#lastTurnMs);
    const before = cpuMs();
    const verdict = await this.#options.sync(request);
    this.#lastEndMs = clock.now();
    this.#lastTurnMs = this.#lastEndMs;
    const usedMs = cpuMs() - before;
    if (isTidying) this.#pace.charge(lane, this.#lastEndMs, usedMs);
    else if (!resync) this.#pace.ended(lane, this.#lastEndMs, usedMs);
    this.#settle(verdict);
    if (resync || !this.#timers.resync) this.#scheduleResync();
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
    this.#arm('retry', delay, () => this.request('retry', verdict === 'later' ? 'rules' : 'compare'));
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
    this.#arm('resync', resyncIntervalMs * (0.9 + random() * 0.2), () => this.request('resync', 'compare'));
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
