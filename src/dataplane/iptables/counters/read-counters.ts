/** The text of `iptables-save -c`, or what the kernel tells of its rules -> the counters of our chains. */
import type { Sliced } from '../../../core/sliced.ts';
import type { DumpedChain, DumpedRules } from '../../rule-dump.ts';

import { isOurChain } from '../../chain-names.ts';

/** The rules of one chain, in order. */
export interface ChainCounters {
  /** What tells each rule from others: a hash of its text, or its handle. */
  readonly ids: readonly number[];
  /** Of all. Below 0: of handles. */
  readonly hash: number;
  readonly packets: readonly number[];
  readonly bytes: readonly number[];
  /**
   * Each rule without `-A CHAIN`. Seldom asked for: of a table that is mostly as it was nothing is kept. Absent: only the kernel was asked,
   * which does not tell it.
   */
  readonly lines?: () => readonly string[];
}

/** By name. */
export type CountersRead = ReadonlyMap<string, ChainCounters>;

const LINES_PER_STEP = 250;
const RULE = '] -A ';

/**
 * Our chains in table mangle, but those that `isSkipped`. Undefined: the text is not what the tool prints, so nothing is known. Whatever
 * else stands in the table is passed over.
 */
export function* savedCounters(text: string, isSkipped: (chain: string) => boolean): Sliced<CountersRead | undefined> {
  const chains = new Map<string, Growing>();
  let isWhole = false;
  let count = 0;
  for (let start = 0; start < text.length; ) {
    const newline = text.indexOf('\n', start);
    if (newline < 0) return undefined;
    const from = start;
    start = newline + 1;
    if (++count % LINES_PER_STEP === 0) yield;
    if (text[from] === ':') {
      const name = text.slice(from + 1, text.indexOf(' ', from));
      if (isOurChain(name) && !isSkipped(name)) chains.set(name, new Growing(text));
    } else if (text[from] === '[') {
      if (!readRule(text, from, newline, chains)) return undefined;
    } else if (text.startsWith('COMMIT\n', from)) isWhole = true;
    else if (text.startsWith('-A', from)) return undefined;
  }
  return isWhole ? chains : undefined;
}

/** `[packets:bytes] -A CHAIN rule`; false if it is not. */
function readRule(text: string, from: number, end: number, chains: ReadonlyMap<string, Growing>): boolean {
  const close = text.indexOf(RULE, from);
  const colon = text.indexOf(':', from);
  if (close < 0 || close > end || colon > close) return false;
  const packets = Number(text.slice(from + 1, colon));
  const bytes = Number(text.slice(colon + 1, close));
  if (!isCount(packets) || !isCount(bytes)) return false;
  const name = close + RULE.length;
  const blank = text.indexOf(' ', name);
  const nameEnd = blank < 0 || blank > end ? end : blank;
  chains.get(text.slice(name, nameEnd))?.add(Math.min(nameEnd + 1, end), end, packets, bytes);
  return true;
}

/** Above 2^53 a count is off by a few. */
function isCount(value: number): boolean {
  return Number.isInteger(value) && value >= 0;
}

/** Of chains that are not skipped, as `savedCounters` gives them. */
export function dumpedCounters(rules: DumpedRules): CountersRead {
  return new Map([...rules].map(([name, chain]) => [name, countersOf(chain)]));
}

function countersOf({ handles, packets, bytes }: DumpedChain): ChainCounters {
  let hash = HASH_START;
  for (const handle of handles) hash = Math.imul(hash ^ (handle >>> 0), HASH_STEP) >>> 0;
  return { ids: handles, hash: -1 - hash, packets: packets.map(counted), bytes: bytes.map(counted) };
}

/** What was dumped, with the text of its rules, which was read after it. Who writes meanwhile is told of by others. */
export function withLines(dumped: CountersRead, printed: CountersRead): CountersRead {
  return new Map(
    [...dumped].map(([name, chain]) => {
      const { ids, lines } = printed.get(name) ?? {};
      return [name, lines && ids?.length === chain.ids.length ? { ...chain, lines } : chain];
    }),
  );
}

/** A rule of iptables has a counter; one that somebody wrote by nft need not. */
function counted(count: number): number {
  return Math.max(0, count);
}

export function isOfHandles(hash: number): boolean {
  return hash < 0;
}

class Growing implements ChainCounters {
  readonly ids: number[] = [];
  readonly packets: number[] = [];
  readonly bytes: number[] = [];
  hash = HASH_START;
  readonly #text: string;
  readonly #places: number[] = [];

  constructor(text: string) {
    this.#text = text;
  }

  add(start: number, end: number, packets: number, bytes: number): void {
    const hash = hashOf(this.#text, start, end);
    this.hash = Math.imul(this.hash ^ hash, HASH_STEP) >>> 0;
    this.ids.push(hash);
    this.packets.push(packets);
    this.bytes.push(bytes);
    this.#places.push(start, end);
  }

  readonly lines = (): readonly string[] =>
    this.ids.map((_, index) => this.#text.slice(this.#places[2 * index], this.#places[2 * index + 1]).trimEnd());
}

const HASH_START = 0x811c9dc5;
const HASH_STEP = 0x01000193;

/** FNV-1a over UTF-16 units, 32 bits: tells apart what stands in one chain, and a chain from what it was. */
function hashOf(text: string, start: number, end: number): number {
  let hash = HASH_START;
  for (let at = start; at < end; at++) hash = Math.imul(hash ^ text.charCodeAt(at), HASH_STEP);
  return hash >>> 0;
}
