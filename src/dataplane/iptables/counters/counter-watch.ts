/**
 * Reads the counters of the rules now and then, beside the syncs: on a timer, when somebody asks, and before chains are deleted. A reading
 * writes nothing, takes no lock, and goes after everybody else's work; what waits for one waits only so long.
 */
import type { MonotonicClock } from '../../../core/clock.ts';
import type { Backend, Family } from '../../../core/vocabulary.ts';
import type { RuleCounter } from '../../dataplane.ts';
import type { Ruleset } from '../rules/ruleset.ts';
import type { DumpedRules } from '../../rule-dump.ts';

import { CountBook } from '../../count-book.ts';
import { inTurns } from '../../in-turns.ts';
import { Ledger } from './ledger.ts';
import { type CountersRead, dumpedCounters, savedCounters, withLines } from './read-counters.ts';
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
  /** What rules of those chains count, as the kernel tells it; undefined: it does not. Never rejects. Absent: only tools are asked. */
  readonly dump?: (family: Family, chains: readonly string[]) => Promise<DumpedRules | undefined>;
  readonly clock: MonotonicClock;
  /** Absent: one of its own, which nobody goes on from. */
  readonly book?: CountBook;
  /** Undefined: it works again. Told once each. */
  readonly onProblem: (problem: string | undefined) => void;
}

/** What a reading is for: everything; chains that nothing leads to any more; those that a commit is about to delete. */
type Purpose = 'all' | 'gone' | { readonly family: Family; readonly chains: readonly string[] };

interface QueuedReading {
  purpose: Purpose;
  readonly done: Promise<void>;
}

export class CounterWatch {
  readonly #options: CounterWatchOptions;
  readonly #book: CountBook;
  readonly #ledger: Ledger;
  #isRendered = false;
  /** Rules since the last reading, oldest first. */
  readonly #unlearned: Ruleset[] = [];
  #variant: Backend | undefined;
  #loaded: Promise<void> | undefined;
  #reading: QueuedReading | undefined;
  /** Another reading, begun after the one under way. */
  #next: QueuedReading | undefined;
  #readMs = Number.NEGATIVE_INFINITY;
  #tookMs = 0;
  /** Begins and ends of commits that wrote rules. */
  readonly #changes: Record<Family, number> = { 4: 0, 6: 0 };
  /** As many there were when the last reading began that succeeded, and the chains it was of; absent: of all. */
  readonly #lastRead: Record<Family, { readonly changes: number; readonly only?: ReadonlySet<string> }> = {
    4: { changes: 0 },
    6: { changes: 0 },
  };
  /** All chains that are there were listed by the tool: an agent before this one may have left some. */
  #isListed: Record<Family, boolean> = { 4: false, 6: false };
  #problem: string | undefined;
  #cancelTimer: (() => void) | undefined;
  #isStopped = false;

  constructor(options: CounterWatchOptions) {
    this.#options = options;
    this.#book = options.book ?? new CountBook();
    this.#ledger = new Ledger(this.#book.totals);
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

  covers(family: Family, overlay: string, chain: string): void {
    this.#ledger.covers(family, overlay, chain);
  }

  /** Resolves when what the chains counted was read and kept, or soon after if it cannot be. */
  async beforeDeletion(family: Family, chains: readonly string[], isLive: boolean): Promise<void> {
    const counting = chains.filter((chain) => this.#ledger.mayCount(family, chain));
    const { changes, only } = this.#lastRead[family];
    // What no packet comes to counts no more.
    const isRead =
      !isLive && changes === this.#changes[family] && counting.every((chain) => only === undefined || only.has(chain));
    if (this.#isStopped || isRead || counting.length === 0) return;
    await this.#within(MAX_WAIT_MS, this.#readAnew({ family, chains: counting }));
  }

  /** Chains are about to go, but not so soon that anybody would have to wait. */
  async aheadOfDeletion(): Promise<void> {
    const { families } = this.#options.target();
    const isRead = families.every((family) => this.#lastRead[family].changes === this.#changes[family]);
    if (this.#isStopped || isRead) return;
    await this.#within(MAX_WAIT_MS, this.#readAnew('gone'));
  }

  async counters(): Promise<readonly RuleCounter[]> {
    if (!this.#isRendered) return [];
    const minAgeMs = Math.max(MIN_AGE_MS, this.#tookMs * REST_SHARE);
    if (!this.#isStopped && this.#options.clock.now() - this.#readMs >= minAgeMs)
      await this.#within(MAX_WAIT_MS, this.#readAll());
    return this.#book.totals.counters();
  }

  /** Lets a reading under way keep what it counts, but not for long. Counting goes on in the kernel. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#cancelTimer?.();
    if (this.#reading) await this.#within(MAX_WAIT_MS, this.#reading.done);
  }

  /** The rules are about to go. Resolves soon, and never rejects. */
  async lastReading(): Promise<void> {
    if (!this.#isStopped) await this.#within(MAX_WAIT_MS, this.#readAnew('all'));
    await this.stop();
  }

  #wake(): void {
    this.#cancelTimer?.();
    if (this.#isStopped) return;
    this.#cancelTimer = this.#options.clock.after(READ_INTERVAL_MS, () => void this.#readAll());
  }

  #readAll(): Promise<void> {
    return this.#reading?.purpose === 'all' ? this.#reading.done : this.#readAnew('all', false);
  }

  /** Of one under way nobody knows what it has read already. Of those that wait there is one. */
  #readAnew(purpose: Purpose, isUrgent = true): Promise<void> {
    if (!this.#reading && !this.#next) {
      this.#reading = { purpose, done: this.#readFor(purpose, isUrgent) };
      return this.#reading.done;
    }
    if (this.#next) {
      if (this.#next.purpose !== purpose) this.#next.purpose = 'all';
      return this.#next.done;
    }
    const done = this.#reading!.done.then(() => this.#readNext());
    this.#next = { purpose, done };
    return done;
  }

  #readNext(): Promise<void> {
    const next = this.#next!;
    this.#next = undefined;
    this.#reading = next;
    return this.#readFor(next.purpose, true);
  }

  /** Never rejects. */
  async #readFor(purpose: Purpose, isUrgent: boolean): Promise<void> {
    let problem: string | undefined;
    try {
      problem = await this.#readFamilies(purpose, isUrgent);
    } catch (error) {
      problem = messageOf(error);
    }
    if (problem !== this.#problem) this.#options.onProblem(problem);
    this.#problem = problem;
    this.#reading = undefined;
    if (purpose === 'all') this.#wake();
  }

  /** The first problem, if any. */
  async #readFamilies(purpose: Purpose, isUrgent: boolean): Promise<string | undefined> {
    const { clock, target } = this.#options;
    this.#loaded ??= this.#book.chainsOf('iptables', clock.now()).then((chains) => this.#ledger.restore(chains));
    await this.#loaded;
    const started = clock.now();
    for (let ruleset = this.#unlearned.shift(); ruleset; ruleset = this.#unlearned.shift())
      await inTurns(this.#ledger.learn(ruleset, started));
    const { variant, families } = target();
    if (this.#variant !== variant) {
      if (this.#variant !== undefined) this.#ledger.moved();
      this.#isListed = { 4: false, 6: false };
    }
    this.#variant = variant;
    const changes = { ...this.#changes };
    let problem: string | undefined;
    for (const family of families) {
      const chains = this.#chainsFor(purpose, family);
      if (chains === 'none') continue;
      const found = await this.#readFamily(family, chains, isUrgent);
      if ('problem' in found) problem ??= found.problem;
      else this.#lastRead[family] = { changes: changes[family], ...(found.isWhole ? {} : { only: new Set(chains) }) };
    }
    if (purpose === 'all') {
      this.#readMs = clock.now();
      this.#tookMs = this.#readMs - started;
    }
    const kept = this.#book.keep('iptables', () => this.#ledger.savedChains());
    await this.#within(MAX_WAIT_MS, kept);
    return problem;
  }

  /** Undefined: all. */
  #chainsFor(purpose: Purpose, family: Family): readonly string[] | 'none' | undefined {
    if (purpose === 'all') return undefined;
    if (purpose === 'gone') return this.#ledger.gone(family);
    return purpose.family === family ? purpose.chains : 'none';
  }

  async #readFamily(
    family: Family,
    chains: readonly string[] | undefined,
    isUrgent: boolean,
  ): Promise<{ readonly isWhole: boolean } | { readonly problem: string }> {
    try {
      let { read, isWhole } = await this.#counters(family, chains, isUrgent);
      if (read && this.#ledger.hasFallen(family, read)) {
        await this.#pause(SETTLE_MS);
        ({ read, isWhole } = await this.#counters(family, chains, isUrgent));
      }
      if (!read) return { problem: `what it prints of the IPv${family} rules makes no sense` };
      const only = isWhole || !chains ? undefined : new Set(chains);
      await inTurns(this.#ledger.take(family, read, this.#options.clock.now(), only));
      return { isWhole };
    } catch (error) {
      return { problem: messageOf(error) };
    }
  }

  /** The tool prints all rules, whatever is asked for. It is asked where the kernel's answer is not enough, and the first time. */
  async #counters(
    family: Family,
    chains: readonly string[] | undefined,
    isUrgent: boolean,
  ): Promise<{ read: CountersRead | undefined; isWhole: boolean }> {
    const { read } = this.#options;
    this.#ledger.reads(family);
    const isKnown = chains !== undefined || this.#isListed[family];
    const dumped = await this.#dump(family, chains ?? this.#ledger.counting(family));
    if (dumped && isKnown && !this.#ledger.lacksLines(family, dumped)) return { read: dumped, isWhole: !chains };
    const text = await read(family, isUrgent);
    const printed = await inTurns(savedCounters(text, (chain) => this.#ledger.isSkipped(chain)));
    this.#isListed[family] ||= printed !== undefined;
    if (!dumped || !printed) return { read: printed, isWhole: true };
    // Chains of which only the text tells that they are there.
    const more = chains ? [] : this.#ledger.unknownOf(family, printed, dumped);
    const others = more.length === 0 ? undefined : await this.#dump(family, more);
    if (more.length > 0 && !others) return { read: printed, isWhole: true };
    return { read: withLines(new Map([...dumped, ...(others ?? [])]), printed), isWhole: !chains };
  }

  async #dump(family: Family, chains: readonly string[]): Promise<CountersRead | undefined> {
    const { dump } = this.#options;
    if (!dump || this.#variant !== 'iptables-nft') return undefined;
    const rules = await dump(family, chains);
    return rules && dumpedCounters(rules);
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
