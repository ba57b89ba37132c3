/**
 * Reads the counters of the rules now and then, beside the syncs: on a timer, when somebody asks, and before chains are deleted. A reading
 * writes nothing, takes no lock, and goes after everybody else's work; what waits for one waits only so long.
 */
import type { MonotonicClock } from '../../../core/clock.ts';
import type { Sliced } from '../../../core/sliced.ts';
import type { Backend, Family } from '../../../core/vocabulary.ts';
import type { CountStore } from '../../count-store.ts';
import type { RuleCounter } from '../../dataplane.ts';
import type { Ruleset } from '../rules/ruleset.ts';
import type { CountersRead } from './read-counters.ts';

import { inTurns } from '../../in-turns.ts';
import { Ledger } from './ledger.ts';
import { savedCounters } from './read-counters.ts';
import { messageOf } from '../../../core/error-text.ts';

/** What a rule counted since the last reading is lost with a chain that is written anew: at most this long. */
export const READ_INTERVAL_MS = 15_000;
/** However often somebody asks. */
const MIN_AGE_MS = 1_000;
/** Of the time, at most one part in so many goes into readings. */
const REST_SHARE = 20;
/** Chains are deleted after this long, read or not. */
const MAX_WAIT_MS = 1_000;
/** Until what a table held is put back after a commit of iptables-legacy. */
const SETTLE_MS = 20;
/** Rules remembered from one reading to the next. A chain of older ones is known by its legend alone: one count for all its policies. */
const MAX_UNLEARNED = 150;

export interface CounterWatchOptions {
  /** Where rules are written now. */
  readonly target: () => { readonly variant: Backend; readonly families: readonly Family[] };
  /** What `iptables-save -c` prints of table mangle. `isUrgent`: somebody waits. Rejects if it cannot be read. */
  readonly read: (family: Family, isUrgent: boolean) => Promise<string>;
  readonly clock: MonotonicClock;
  /** Absent: counts end with the agent. */
  readonly store?: CountStore;
  /** Undefined: it works again. Told once each. */
  readonly onProblem: (problem: string | undefined) => void;
}

export class CounterWatch {
  readonly #options: CounterWatchOptions;
  readonly #ledger = new Ledger();
  #isRendered = false;
  /** Rules since the last reading, oldest first. */
  readonly #unlearned: Ruleset[] = [];
  #variant: Backend | undefined;
  #loaded: Promise<void> | undefined;
  #saving: Promise<void> | undefined;
  #reading: Promise<void> | undefined;
  /** Another reading, begun after the one under way. */
  #next: Promise<void> | undefined;
  #readMs = Number.NEGATIVE_INFINITY;
  #tookMs = 0;
  /** Begins and ends of commits that wrote rules. */
  readonly #changes: Record<Family, number> = { 4: 0, 6: 0 };
  /** As many there were when the last reading began that succeeded. */
  #readChanges: Readonly<Record<Family, number>> = { 4: 0, 6: 0 };
  #problem: string | undefined;
  #cancelTimer: (() => void) | undefined;
  #isStopped = false;

  constructor(options: CounterWatchOptions) {
    this.#options = options;
  }

  /** These rules are about to be written. Readings begin with the first. */
  rendered(ruleset: Ruleset): void {
    if (!this.#isRendered) this.#wake();
    this.#isRendered = true;
    if (this.#unlearned.at(-1)?.families === ruleset.families) return;
    // Some of their chains may be in the kernel until the next reading.
    this.#unlearned.push(ruleset);
    if (this.#unlearned.length > MAX_UNLEARNED) this.#unlearned.shift();
  }

  began(family: Family, chains: readonly string[]): void {
    this.#ledger.began(family, chains);
    this.#changes[family]++;
  }

  ended(family: Family, chains: readonly string[], isDone: boolean): void {
    this.#ledger.ended(family, chains, isDone);
    this.#changes[family]++;
  }

  /** Resolves when what the chains counted was read and kept, or soon after if it cannot be. */
  async beforeDeletion(family: Family, isLive: boolean): Promise<void> {
    // What no packet comes to counts no more.
    const isRead = !isLive && this.#readChanges[family] === this.#changes[family];
    if (this.#isStopped || isRead) return;
    await this.#within(MAX_WAIT_MS, this.#readAnew());
  }

  /** Chains are about to go, but not so soon that anybody would have to wait. */
  async aheadOfDeletion(): Promise<void> {
    for (const family of this.#options.target().families) await this.beforeDeletion(family, false);
  }

  async counters(): Promise<readonly RuleCounter[]> {
    if (!this.#isRendered) return [];
    const minAgeMs = Math.max(MIN_AGE_MS, this.#tookMs * REST_SHARE);
    if (this.#options.clock.now() - this.#readMs >= minAgeMs) await this.#within(MAX_WAIT_MS, this.#read(false));
    return this.#ledger.counters();
  }

  /** Lets a reading under way keep what it counts, but not for long. Counting goes on in the kernel. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#cancelTimer?.();
    if (this.#reading) await this.#within(MAX_WAIT_MS, this.#reading);
  }

  #wake(): void {
    this.#cancelTimer?.();
    if (this.#isStopped) return;
    this.#cancelTimer = this.#options.clock.after(READ_INTERVAL_MS, () => void this.#read(false));
  }

  /** Of one under way nobody knows what it has read already. */
  #readAnew(): Promise<void> {
    if (!this.#reading) return this.#read(true);
    this.#next ??= this.#reading.then(() => {
      this.#next = undefined;
      return this.#read(true);
    });
    return this.#next;
  }

  #read(isUrgent: boolean): Promise<void> {
    this.#reading ??= this.#readAll(isUrgent).finally(() => {
      this.#reading = undefined;
      this.#wake();
    });
    return this.#reading;
  }

  /** Never rejects. */
  async #readAll(isUrgent: boolean): Promise<void> {
    let problem: string | undefined;
    try {
      problem = await this.#readFamilies(isUrgent);
    } catch (error) {
      problem = messageOf(error);
    }
    if (problem !== this.#problem) this.#options.onProblem(problem);
    this.#problem = problem;
  }

  /** The first problem, if any. */
  async #readFamilies(isUrgent: boolean): Promise<string | undefined> {
    const { clock, store, target } = this.#options;
    this.#loaded ??= store?.load(this.#ledger, clock.now()) ?? Promise.resolve();
    await this.#loaded;
    const started = clock.now();
    for (let ruleset = this.#unlearned.shift(); ruleset; ruleset = this.#unlearned.shift())
      await inTurns(this.#ledger.learn(ruleset, started));
    const { variant, families } = target();
    if (this.#variant !== undefined && this.#variant !== variant) this.#ledger.moved();
    this.#variant = variant;
    const changes = { ...this.#changes };
    let problem: string | undefined;
    for (const family of families) {
      const found = await this.#readFamily(family, isUrgent);
      problem ??= found;
    }
    this.#readMs = clock.now();
    this.#tookMs = this.#readMs - started;
    if (problem === undefined) this.#readChanges = changes;
    this.#saving ??= store?.save(this.#ledger).finally(() => (this.#saving = undefined));
    if (this.#saving) await this.#within(MAX_WAIT_MS, this.#saving);
    return problem;
  }

  /** The problem, if any. */
  async #readFamily(family: Family, isUrgent: boolean): Promise<string | undefined> {
    try {
      let read = await this.#parse(family, isUrgent);
      if (read && this.#ledger.hasFallen(family, read)) {
        await this.#pause(SETTLE_MS);
        read = await this.#parse(family, isUrgent);
      }
      if (!read) return `what it prints of the IPv${family} rules makes no sense`;
      await inTurns(this.#ledger.take(family, read, this.#options.clock.now()));
      return undefined;
    } catch (error) {
      return messageOf(error);
    }
  }

  async #parse(family: Family, isUrgent: boolean): Promise<CountersRead | undefined> {
    this.#ledger.reads(family);
    const text = await this.#options.read(family, isUrgent);
    return await inTurns(this.#parsing(text));
  }

  #parsing(text: string): Sliced<CountersRead | undefined> {
    return savedCounters(text, (chain) => this.#ledger.isSkipped(chain));
  }

  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => void this.#options.clock.after(ms, resolve));
  }

  #within(ms: number, work: Promise<void>): Promise<void> {
    return new Promise((resolve) => {
      const cancel = this.#options.clock.after(ms, resolve);
      void work.then(() => {
        cancel();
        resolve();
      });
    });
  }
}
