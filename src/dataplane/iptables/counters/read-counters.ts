/** The text of `iptables-save -c` -> the counters of our chains. */
import type { Sliced } from '../../../core/sliced.ts';

import { isOurChain } from '../rules/names.ts';

/** The rules of one chain, in order. */
export interface ChainCounters {
  /** Without `-A CHAIN`. */
  readonly lines: readonly string[];
  /** Of each line. */
  readonly hashes: readonly number[];
  /** Of all lines. */
  readonly hash: number;
  readonly packets: readonly number[];
  readonly bytes: readonly number[];
}

/** By name. */
export type CountersRead = ReadonlyMap<string, ChainCounters>;

const LINES_PER_STEP = 500;

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
    const first = text[from];
    if (first === ':') {
      const name = text.slice(from + 1, text.indexOf(' ', from));
      if (isOurChain(name) && !isSkipped(name)) chains.set(name, empty());
    } else if (first === '[') {
      const read = counted(text.slice(from, newline));
      if (!read) return undefined;
      const chain = chains.get(read.chain);
      if (chain) append(chain, read);
    } else if (text.startsWith('COMMIT\n', from)) isWhole = true;
    else if (text.startsWith('-A', from)) return undefined;
  }
  return isWhole ? chains : undefined;
}

interface Growing extends ChainCounters {
  readonly lines: string[];
  readonly hashes: number[];
  hash: number;
  readonly packets: number[];
  readonly bytes: number[];
}

function empty(): Growing {
  return { lines: [], hashes: [], hash: HASH_START, packets: [], bytes: [] };
}

function append(chain: Growing, { line, packets, bytes }: CountedLine): void {
  const hash = hashOf(line, HASH_START);
  chain.lines.push(line);
  chain.hashes.push(hash);
  chain.hash = hashOf(String(hash), chain.hash);
  chain.packets.push(packets);
  chain.bytes.push(bytes);
}

interface CountedLine {
  readonly chain: string;
  readonly line: string;
  readonly packets: number;
  readonly bytes: number;
}

/** `[packets:bytes] -A CHAIN rule` */
function counted(line: string): CountedLine | undefined {
  const colon = line.indexOf(':');
  const close = line.indexOf('] -A ', colon);
  if (colon < 0 || close < 0) return undefined;
  const packets = Number(line.slice(1, colon));
  const bytes = Number(line.slice(colon + 1, close));
  if (!isCount(packets) || !isCount(bytes)) return undefined;
  const name = close + '] -A '.length;
  const blank = line.indexOf(' ', name);
  const end = blank < 0 ? line.length : blank;
  return { chain: line.slice(name, end), line: line.slice(end + 1).trimEnd(), packets, bytes };
}

/** Above 2^53 a count is off by a few. */
function isCount(value: number): boolean {
  return Number.isInteger(value) && value >= 0;
}

const HASH_START = 0x811c9dc5;

/** FNV-1a over UTF-16 units, 32 bits: tells apart what stands in one chain, and a chain from what it was. */
function hashOf(text: string, start: number): number {
  let hash = start;
  for (let at = 0; at < text.length; at++) hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193);
  return hash >>> 0;
}
