/**
 * Counts that outlive the rules they were read from. The kernel's counters go with their chain, and a chain that is written anew begins
 * at 0: so what was added since the last reading is added here, chain by chain.
 */
import type { Sliced } from '../../../core/sliced.ts';
import type { Family } from '../../../core/vocabulary.ts';
import type { CountTotals, Total } from '../../count-totals.ts';
import type { SavedChain } from '../../saved-counts.ts';
import type { Chain } from '../rules/chain.ts';
import type { Rule } from '../rules/rule.ts';
import type { Ruleset } from '../rules/ruleset.ts';
import type { TextContext } from '../rules/write-text.ts';
import { type ChainCounters, type CountersRead, isOfHandles } from './read-counters.ts';

import { DIRECTIONS, FAMILIES } from '../../../core/vocabulary.ts';
import { closedChain, isJudging, replyChain } from '../../chain-names.ts';
import { isOverlay } from '../rules/names.ts';
import { leadsTo } from '../rules/parse-rule.ts';
import { type Judged, judgedBy, judgedWhenClosed, parsedRule, readJudged, sharesOf } from './counted-rules.ts';

interface TotalShare {
  readonly index: number;
  readonly total: Total;
  readonly sign: 1 | -1;
}

/** A chain as it was read last. */
interface Known {
  /** Of each rule; absent: only the hash of all is known. */
  readonly ids: readonly number[] | undefined;
  readonly hash: number;
  readonly packets: readonly number[];
  readonly bytes: readonly number[];
  readonly shares: readonly TotalShare[];
  /** What the shares were found by; absent: the lines themselves. */
  readonly by?: Rendered;
}

interface Rendered {
  readonly chain: Chain;
  readonly judged: Judged;
  readonly context: TextContext;
}

export class Ledger {
  readonly #totals: CountTotals;
  /** By family and name: chains that are in the kernel. */
  #known = new Map<string, Known>();
  /** By family and name: chains of the rules wanted now, and of those before as long as they are in the kernel. */
  readonly #rendered = new Map<string, Rendered>();
  #wanted: Ruleset | undefined;
  /** Chains that count nothing. */
  #others: ReadonlySet<string> = new Set();
  /** Chains that are being written: how often at once. */
  readonly #writing = new Map<string, number>();
  /** Chains that were written since they were read: they began at 0. */
  readonly #written = new Set<string>();
  /** Those of which a reading under way may know the counts of before. */
  readonly #unsure = new Set<string>();
  /** Chains that judge in the place of others, from the head of which they are reached: whether those judge pods. */
  readonly #overlays = new Map<string, boolean>();

  constructor(totals: CountTotals) {
    this.#totals = totals;
  }

  /** What chains mean from now on. */
  *learn(ruleset: Ruleset, nowMs: number): Sliced<void> {
    if (ruleset.families === this.#wanted?.families) return;
    this.#wanted = ruleset;
    const others = new Set<string>();
    const { marks } = ruleset.layout;
    for (const family of FAMILIES) {
      // No endpoint chain shows an epoch.
      const context: TextContext = { family, epoch: 0, ...(marks ? { marks } : {}) };
      const { chains, endpointChains, entry } = ruleset.families[family];
      for (const { name } of entry) others.add(name);
      for (const chain of chains.values()) {
        const { role } = chain;
        const judged = judgedBy(chain, role.kind === 'endpoint' ? endpointChains.get(role.endpoint) : undefined);
        const key = chainKey(family, chain.name);
        if (!judged) others.add(chain.name);
        else if (this.#rendered.get(key)?.chain !== chain) {
          // Of the same name are the same rules, but perhaps for other policies.
          this.#rendered.set(key, { chain, judged, context });
          // A count is there, at 0, before the first packet.
          for (const { counted } of sharesOf(chain.rules, judged)) this.#totals.of(counted, nowMs);
        }
        yield;
      }
    }
    this.#others = others;
  }

  /** These chains are about to be written, from their first rule on. */
  began(family: Family, chains: readonly string[]): void {
    for (const name of chains) {
      const key = chainKey(family, name);
      this.#writing.set(key, (this.#writing.get(key) ?? 0) + 1);
    }
  }

  /** `isDone`: else they are what they were. */
  ended(family: Family, chains: readonly string[], isDone: boolean): void {
    for (const name of chains) {
      const key = chainKey(family, name);
      const left = (this.#writing.get(key) ?? 1) - 1;
      if (left > 0) this.#writing.set(key, left);
      else this.#writing.delete(key);
      if (!isDone) continue;
      this.#written.add(key);
      this.#unsure.add(key);
    }
  }

  /** The family is read from now on. */
  reads(family: Family): void {
    for (const key of this.#unsure) if (isOf(family, key)) this.#unsure.delete(key);
  }

  /** `overlay` is about to be put in the place of `chain`. */
  covers(family: Family, overlay: string, chain: string): void {
    this.#overlays.set(chainKey(family, overlay), isJudging(chain));
  }

  isSkipped(chain: string): boolean {
    return this.#others.has(chain);
  }

  /** Chains that count, as far as it is known which there are. */
  counting(family: Family): readonly string[] {
    const names = new Set(CLOSED_CHAINS);
    for (const keys of [this.#known.keys(), this.#rendered.keys()])
      for (const key of keys) if (isOf(family, key)) names.add(key.slice(2));
    return [...names];
  }

  /** Chains that may count, and are not in `read`. */
  unknownOf(family: Family, printed: CountersRead, read: CountersRead): readonly string[] {
    return [...printed].flatMap(([name, { ids }]) =>
      ids.length > 0 && !read.has(name) && this.mayCount(family, name) ? [name] : [],
    );
  }

  /** Chains that may have counted something, and are wanted no more. */
  gone(family: Family): readonly string[] {
    const wanted = this.#wanted?.families[family].chains;
    const gone = new Set<string>();
    for (const keys of [this.#known.keys(), this.#rendered.keys()])
      for (const key of keys) if (isOf(family, key) && !wanted?.has(key.slice(2))) gone.add(key.slice(2));
    return [...gone];
  }

  /** What some chain counts is told by the text of its rules alone, and `read` has none. */
  lacksLines(family: Family, read: CountersRead): boolean {
    for (const [name, chain] of read) {
      const key = chainKey(family, name);
      if (chain.lines || this.#writing.has(key) || this.#unsure.has(key) || !this.mayCount(family, name)) continue;
      const rendered = this.#rendered.get(key);
      if (!writtenRules(chain, rendered) && !this.#asBefore(key, chain, rendered)) return true;
    }
    return false;
  }

  /** False: the chain is for the way to those that judge. */
  mayCount(family: Family, name: string): boolean {
    return isOverlay(name) ? this.#overlays.get(chainKey(family, name)) !== false : isJudging(name);
  }

  /** The chain as it was read last, if it has the same rules. */
  #asBefore(key: string, { ids, hash, lines }: ChainCounters, rendered: Rendered | undefined): Known | undefined {
    const before = this.#known.get(key);
    if (!before?.ids || before.by !== rendered) return undefined;
    if (before.hash === hash) return before;
    if (lines) return undefined;
    const isOtherWay = isOfHandles(before.hash) !== isOfHandles(hash);
    return isOtherWay && !this.#written.has(key) && before.ids.length === ids.length ? before : undefined;
  }

  /**
   * Some counter is less than it was: its chain was written anew; or iptables-legacy was about to put back the counts of a table that it
   * has just replaced, as it does for a moment after each commit.
   */
  hasFallen(family: Family, read: CountersRead): boolean {
    for (const [name, chain] of read) {
      const key = chainKey(family, name);
      const known = this.#written.has(key) || this.#writing.has(key) ? undefined : this.#known.get(key);
      if (known && placesByIds(chain, known) && placesOf(chain, known) === 'nowhere') return true;
    }
    return false;
  }

  /** Adds what was counted since the last time. `read`: all chains of the family, but those skipped; or those of `only` that there are. */
  *take(family: Family, read: CountersRead, nowMs: number, only?: ReadonlySet<string>): Sliced<void> {
    const isAsked = (key: string): boolean => isOf(family, key) && (!only || only.has(key.slice(2)));
    const known = new Map([...this.#known].filter(([key]) => !isAsked(key)));
    const instead = this.#insteadOf(family, read);
    yield;
    for (const [name, chain] of read) {
      const key = chainKey(family, name);
      const last = this.#known.get(key);
      if (this.#writing.has(key) || this.#unsure.has(key)) {
        if (last) known.set(key, last);
        continue;
      }
      const rendered = this.#rendered.get(key) ?? instead.get(name);
      const now = this.#knownOf(family, name, rendered, chain, nowMs);
      const before = this.#written.delete(key) ? undefined : last;
      if (now) {
        add(now, placesOf(chain, before), before);
        known.set(key, now);
      }
      yield;
    }
    this.#known = known;
    for (const key of this.#written)
      if (isAsked(key) && !this.#unsure.has(key) && !read.has(key.slice(2))) this.#written.delete(key);
    this.#forget(isAsked, family, read);
    yield;
    for (const { shares } of known.values()) for (const { total } of shares) total.usedMs = nowMs;
    this.#totals.dropIdle(nowMs);
  }

  /** The rules are written to another table from now on. */
  moved(): void {
    this.#known = new Map();
  }

  *savedChains(): Iterable<SavedChain> {
    for (const [key, { hash, packets, bytes }] of this.#known)
      if (!this.#written.has(key))
        yield { family: key.startsWith('4') ? 4 : 6, name: key.slice(2), hash, packets, bytes };
  }

  /** Goes on from there; before anything was taken. */
  restore(chains: Iterable<SavedChain>): void {
    for (const { family, name, hash, packets, bytes } of chains)
      this.#known.set(chainKey(family, name), { ids: undefined, hash, packets, bytes, shares: [] });
  }

  /** Chains that packets are sent to from the head of a chain of ours, with all that it judges: they hold its rules, or nearly. */
  #insteadOf(family: Family, read: CountersRead): ReadonlyMap<string, Rendered> {
    const instead = new Map<string, Rendered>();
    for (const [name, chain] of read) {
      const key = chainKey(family, name);
      const rendered = this.#rendered.get(key);
      if (!rendered || !chain.lines || rendered.chain.rules.length === chain.ids.length) continue;
      for (const line of chain.lines()) {
        const to = line.startsWith('-g ') ? leadsTo(line) : undefined;
        if (to !== undefined) instead.set(to, rendered);
      }
    }
    return instead;
  }

  /** Undefined: nobody knows what the chain counts. */
  #knownOf(
    family: Family,
    name: string,
    rendered: Rendered | undefined,
    chain: ChainCounters,
    nowMs: number,
  ): Known | undefined {
    const { ids, hash, packets, bytes } = chain;
    const before = this.#asBefore(chainKey(family, name), chain, rendered);
    // Read in another way, its rules may be known better now.
    if (before && (before.hash === hash || !writtenRules(chain, rendered)))
      return { ...before, ids, hash, packets, bytes };
    const lines = chain.lines?.() ?? [];
    const judged = rendered?.judged ?? judgedWhenClosed(name) ?? readJudged(lines);
    if (!judged) return undefined;
    const rules =
      writtenRules(chain, rendered) ??
      (rendered ? rulesAmong(lines, rendered) : lines.map((line) => parsedRule(line, family)));
    const shares = sharesOf(rules, judged).map(({ index, counted, sign }): TotalShare => {
      return { index, total: this.#totals.of(counted, nowMs), sign };
    });
    return { ids, hash, packets, bytes, shares, ...(rendered ? { by: rendered } : {}) };
  }

  /** Chains of rules before that are in the kernel no more. */
  #forget(isAsked: (key: string) => boolean, family: Family, read: CountersRead): void {
    const wanted = this.#wanted?.families[family].chains;
    for (const keys of [this.#rendered, this.#overlays]) {
      for (const key of keys.keys()) {
        const name = key.slice(2);
        if (isAsked(key) && !read.has(name) && !wanted?.has(name) && !this.#writing.has(key)) keys.delete(key);
      }
    }
  }
}

/**
 * Where the text is not known: the rules that were written, if there are as many. Handles only grow, so where they are in order nothing was
 * put in between.
 */
function writtenRules({ ids, lines }: ChainCounters, rendered: Rendered | undefined): readonly Rule[] | undefined {
  if (lines || rendered?.chain.rules.length !== ids.length) return undefined;
  return ids.every((id, index) => index === 0 || id > ids[index - 1]!) ? rendered.chain.rules : undefined;
}

/** Each line as the rule that it was written from, which knows its policies; any other as it reads. */
function rulesAmong(lines: readonly string[], { chain, context }: Rendered): readonly (Rule | undefined)[] {
  const written = new Map(chain.text(context).lines.map((line, index) => [line, chain.rules[index]!]));
  return lines.map((line) => written.get(line) ?? parsedRule(line, context.family));
}

/** `where`: the rules were before. */
function add(now: Known, where: Places, before: Known | undefined): void {
  if (where === 'unknown') return;
  for (const { index, total, sign } of now.shares) {
    const at = placeIn(where, index);
    total.packets += sign * (now.packets[index]! - (before?.packets[at] ?? 0));
    total.bytes += sign * (now.bytes[index]! - (before?.bytes[at] ?? 0));
  }
}

/** They are not among the rules wanted. */
const CLOSED_CHAINS = DIRECTIONS.flatMap((direction) => {
  const name = closedChain(direction);
  return [name, replyChain(name)];
});

function isOf(family: Family, key: string): boolean {
  return key.startsWith(`${family} `);
}

function chainKey(family: Family, name: string): string {
  return `${family} ${name}`;
}

/** Where each rule of a chain stood before: by its number; -1: it is new. `unknown`: what it has counted since cannot be told. */
type Places = 'same' | 'nowhere' | 'unknown' | readonly number[];

function placeIn(where: Places, index: number): number {
  return where === 'same' ? index : where === 'nowhere' || where === 'unknown' ? -1 : where[index]!;
}

/** `nowhere`: nothing is known of the chain, or it was written anew meanwhile, as some counter is less than it was. */
function placesOf(now: ChainCounters, before: Known | undefined): Places {
  const where = before && placesByIds(now, before);
  if (!where) return 'nowhere';
  const isLess = now.packets.some((packets, index) => packets < (before.packets[placeIn(where, index)] ?? 0));
  return isLess ? 'nowhere' : where;
}

/** By their text or handles: somebody may have put in a rule, or taken one out, and the others count on. Undefined: it is not known. */
function placesByIds(now: ChainCounters, before: Known): Places | undefined {
  if (now.hash === before.hash) return 'same';
  // Of rules that are read in another way than before it is known how many there are.
  if (isOfHandles(now.hash) !== isOfHandles(before.hash))
    return now.packets.length === before.packets.length ? 'same' : 'unknown';
  const { ids } = before;
  if (!ids) return undefined;
  const places = Map.groupBy(ids.keys(), (index) => ids[index]!);
  return now.ids.map((id) => places.get(id)?.shift() ?? -1);
}
