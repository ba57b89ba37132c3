/** Counters of the table's rules, as `nft -p -t list table` prints them or the kernel tells them: by chain, one entry a rule. */
import type { DumpedRules } from '../../rule-dump.ts';

export interface Count {
  readonly packets: number;
  readonly bytes: number;
  /** No other rule's; absent: not known. */
  readonly handle?: number;
}

export type ReadCounts = ReadonlyMap<string, readonly (Count | undefined)[]>;

export function dumpedCounters(rules: DumpedRules): ReadCounts {
  return new Map(
    [...rules].map(([chain, { handles, packets, bytes }]) => [
      chain,
      packets.map((count, rule) =>
        count < 0 ? undefined : { packets: count, bytes: bytes[rule]!, handle: handles[rule]! },
      ),
    ]),
  );
}

const COUNTER = /\bcounter packets (\d+) bytes (\d+)\b/;

export function readCounters(text: string): ReadCounts {
  const found = new Map<string, (Count | undefined)[]>();
  let rules: (Count | undefined)[] | undefined;
  for (const line of text.split('\n')) {
    const chain = /^\tchain (\S+) \{$/.exec(line)?.[1];
    if (chain !== undefined) {
      rules = [];
      found.set(chain, rules);
    } else if (line === '\t}') rules = undefined;
    else if (rules && !/^\t\ttype \S+ hook /.test(line)) rules.push(countOf(line));
  }
  return found;
}

/** The rules of one chain in it; none: it is not there. */
export function chainLines(text: string, chain: string): readonly string[] {
  const head = `\n\tchain ${chain} {\n`;
  const from = text.indexOf(head);
  const end = text.indexOf('\n\t}', from + head.length - 1);
  if (from < 0 || end < 0) return [];
  const lines = text
    .slice(from + head.length, end)
    .split('\n')
    .map((line) => line.trim());
  return lines.filter((line) => line !== '' && !/^type \S+ hook /.test(line));
}

function countOf(line: string): Count | undefined {
  const [, packets, bytes] = COUNTER.exec(line) ?? [];
  return packets === undefined ? undefined : { packets: Number(packets), bytes: Number(bytes) };
}
