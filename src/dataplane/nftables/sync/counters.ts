/**
 * What the rules of the table have counted, by policies. A rule's counter begins at 0 with the rule and ends with it, so what a chain has
 * counted is kept when it goes, in a text for the agent after this one, if there is a store. Chains that stand go on where an agent before this
 * one left them, and what rules count that this one did not write is told by their comments.
 */
import type { RuleCounter } from '../../dataplane.ts';
import type { Counted } from '../table/counted.ts';
import type { DumpedRules } from '../../rule-dump.ts';
import type { SavedChain } from '../../saved-counts.ts';
import type { Table } from '../table/table.ts';

import { CountBook } from '../../count-book.ts';
import { isJudging } from '../../chain-names.ts';
import { countedBy } from '../table/legend.ts';
import { chainLines, type Count, dumpedCounters, type ReadCounts, readCounters } from '../table/read-counters.ts';

interface CountersOptions {
  /** What `nft -p -t list table` prints. */
  readonly read: () => Promise<string>;
  /** What rules of those chains count, as the kernel tells it; undefined: it does not. Absent: only nft is asked. */
  readonly dump?: (chains: readonly string[]) => Promise<DumpedRules | undefined>;
  /** Absent: one of its own, which nobody goes on from. */
  readonly book?: CountBook;
  readonly now: () => number;
  /** Returns what cancels it. Absent: a deletion waits for a reading as long as that takes. */
  readonly after?: (ms: number, action: () => void) => () => void;
  readonly onProblem: (problem: unknown) => void;
}

interface FoundCounts {
  readonly counts: ReadCounts;
  /** Of all chains. */
  readonly isWhole: boolean;
  readonly linesOf: (chain: string) => readonly string[];
}

/** A listing is not asked for more often. */
const FRESH_MS = 1_000;
/** Chains are deleted after this long, read or not. */
const MAX_WAIT_MS = 1_000;
/** The form in which counts are kept asks for a family. */
const OF_BOTH = 4;
export class NftCounters {
  readonly #options: CountersOptions;
  /** By chain: what its rules count; of chains that are gone as well, until they are read for the last time. */
  readonly #rules = new Map<string, readonly (Counted | undefined)[]>();
  /** By chain, as read last. */
  #seen: ReadCounts = new Map();
  readonly #book: CountBook;
  #standing: Pick<Table['chains'], 'has'> = new Set<string>();
  /** Of the chains that were rendered last. */
  #version: number | undefined;
  #reading: Promise<void> | undefined;
  /** Of all chains; whoever asks meanwhile waits for this one. */
  #whole: Promise<void> | undefined;
  #loaded: Promise<void> | undefined;
  #readMs = Number.NEGATIVE_INFINITY;
  /** The table was read for the last time. */
  #isOver = false;

  constructor(options: CountersOptions) {
    this.#options = options;
    this.#book = options.book ?? new CountBook();
  }

  rendered({ chains }: Table): void {
    const changes = chains.changesSince(this.#version);
    this.#standing = chains;
    this.#version = chains.version;
    const fresh = changes === 'all' ? [...chains.values()] : changes.flatMap(({ after }) => after ?? []);
    for (const { name, rules = [] } of fresh) {
      if (this.#rules.has(name) || !rules.some(({ counts }) => counts)) continue;
      this.#rules.set(
        name,
        rules.map(({ counts }) => counts),
      );
    }
  }

  /** Before chains are deleted; nothing is read where none of them counts. Never rejects. */
  async aheadOfDeletion(): Promise<void> {
    const gone = [...this.#rules.keys()].filter((name) => !this.#standing.has(name));
    // The first time all, for chains that an agent before this one left.
    const isFirst = this.#readMs === Number.NEGATIVE_INFINITY;
    if (gone.length === 0 && !isFirst) return;
    await this.#read(isFirst ? undefined : gone);
    for (const name of gone) if (!this.#standing.has(name)) this.#rules.delete(name);
  }

  /** The same where packets may have come a moment ago, and a sync waits. Resolves soon, and never rejects. */
  async beforeDeletion(): Promise<void> {
    await this.#soon(this.aheadOfDeletion());
  }

  /** The table is about to go. Resolves soon, and never rejects. */
  async lastReading(): Promise<void> {
    await this.#soon(this.#read());
    this.#isOver = true;
  }

  async #soon(reading: Promise<void>): Promise<void> {
    const { after } = this.#options;
    if (!after) return await reading;
    await new Promise<void>((resolve) => {
      const cancel = after(MAX_WAIT_MS, resolve);
      void reading.then(() => {
        cancel();
        resolve();
      });
    });
  }

  /** Never rejects. */
  async counters(): Promise<readonly RuleCounter[]> {
    if (this.#options.now() - this.#readMs >= FRESH_MS) {
      this.#whole ??= this.#read().finally(() => (this.#whole = undefined));
      await this.#whole;
    }
    return this.#book.totals.counters();
  }

  /** `chains`: only those have to be read. One reading after the other: what one that is under way has read is not known. */
  async #read(chains?: readonly string[]): Promise<void> {
    const before = this.#reading;
    const reading = (before ?? Promise.resolve()).then(() => this.#readNow(chains));
    this.#reading = reading;
    await reading;
    if (this.#reading === reading) this.#reading = undefined;
  }

  async #readNow(chains: readonly string[] | undefined): Promise<void> {
    if (this.#isOver) return;
    try {
      const { now } = this.#options;
      this.#loaded ??= this.#book.chainsOf('nftables', now()).then((chains) => this.#restore(chains));
      await this.#loaded;
      const { counts, isWhole, linesOf } = await this.#counts(chains);
      for (const [chain, each] of counts) this.#add(chain, each, linesOf);
      this.#seen = isWhole ? counts : new Map([...this.#seen, ...counts]);
      if (isWhole) {
        this.#readMs = now();
        this.#book.totals.dropIdle(this.#readMs);
      }
      await this.#book.keep('nftables', () => this.#savedChains());
    } catch (error) {
      this.#options.onProblem(error);
    }
  }

  /** nft prints all of the table, whatever is asked for: the first time, for chains that an agent before this one left, and in need. */
  async #counts(chains: readonly string[] | undefined): Promise<FoundCounts> {
    const { read, dump } = this.#options;
    const isFirst = this.#readMs === Number.NEGATIVE_INFINITY;
    const dumped = isFirst ? undefined : await dump?.(chains ?? [...this.#rules.keys()]);
    if (dumped) return { counts: dumpedCounters(dumped), isWhole: !chains, linesOf: () => [] };
    const text = await read();
    return { counts: readCounters(text), isWhole: true, linesOf: (chain) => chainLines(text, chain) };
  }

  /** Names of chains that judge pods are hashes of all that they hold. */
  *#savedChains(): Iterable<SavedChain> {
    for (const [name, counts] of this.#seen) {
      if (!counts.some((count) => count !== undefined && count.packets > 0)) continue;
      const [packets, bytes] = [counts.map((count) => count?.packets ?? 0), counts.map((count) => count?.bytes ?? 0)];
      yield { family: OF_BOTH, name, hash: counts.length, packets, bytes };
    }
  }

  #restore(chains: Iterable<SavedChain>): void {
    this.#seen = new Map(
      Array.from(chains, ({ name, packets, bytes }) => [
        name,
        packets.map((count, index) => ({ packets: count, bytes: bytes[index]! })),
      ]),
    );
  }

  #add(chain: string, counts: NonNullable<ReturnType<ReadCounts['get']>>, linesOf: FoundCounts['linesOf']): void {
    const before = this.#seen.get(chain);
    const rules = this.#rules.get(chain) ?? this.#rulesOfOther(chain, linesOf);
    for (const [index, counted] of rules.entries()) {
      const count = counts[index];
      if (!counted || !count) continue;
      const last = before?.[index];
      // A chain that was written anew counts from 0.
      const isNew = !last || count.packets < last.packets || isOther(count, last);
      const packets = count.packets - (isNew ? 0 : last.packets);
      const bytes = count.bytes - (isNew ? 0 : last.bytes);
      const { also, ...own } = counted;
      this.#count(own, packets, bytes);
      if (also) this.#count({ ...own, ...also }, packets, bytes);
    }
  }

  /** Of a chain that an agent before this one wrote. */
  #rulesOfOther(chain: string, linesOf: FoundCounts['linesOf']): readonly (Counted | undefined)[] {
    if (!isJudging(chain)) return [];
    const rules = countedBy(chain, linesOf(chain));
    if (rules.length > 0) this.#rules.set(chain, rules);
    return rules;
  }

  #count(counted: Counted, packets: number, bytes: number): void {
    const nowMs = this.#options.now();
    const total = this.#book.totals.of(counted, nowMs);
    total.packets += packets;
    total.bytes += bytes;
    total.usedMs = nowMs;
  }
}

/** A rule that came in the place of the other. */
function isOther({ handle }: Count, last: Count): boolean {
  return handle !== undefined && last.handle !== undefined && handle !== last.handle;
}
