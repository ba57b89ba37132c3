/** A fake table of nftables whose rules count. */
import assert from 'node:assert/strict';
import type { DumpedChain, DumpedRules } from '../../src/dataplane/rule-dump.ts';
import { readCounters } from '../../src/dataplane/nftables/table/read-counters.ts';
import { createFakeNft, type FakeNft } from './nft-fake.ts';

const COUNTER = 'counter packets 12 bytes 720';

export interface CountedNft {
  readonly kernel: FakeNft;
  /** As `nft -p list table` prints it. */
  readonly text: () => string;
  /** As netlink tells it. */
  readonly dump: (chains: readonly string[]) => Promise<DumpedRules>;
  /** Packets meet a rule of a chain for new connections to pods, of IPv4: every chain is there once a family. */
  readonly hit: (rule: RegExp, packets: number) => void;
}

export function createCountedNft(): CountedNft {
  const kernel = createFakeNft();
  /** By chain and rule. */
  const hits = new Map<string, number>();
  const text = (): string => {
    let chain = '';
    return kernel
      .text()
      .split('\n')
      .map((line) => {
        chain = /^\tchain (\S+) \{$/.exec(line)?.[1] ?? chain;
        const packets = hits.get(`${chain} ${line}`) ?? 0;
        return line.replace(COUNTER, `counter packets ${packets} bytes ${packets * 60}`);
      })
      .join('\n');
  };
  const dump = async (chains: readonly string[]): Promise<DumpedRules> => {
    const printed = readCounters(text());
    return new Map(
      chains.flatMap((name): [string, DumpedChain][] => {
        const [handles = [], counts = []] = [kernel.handles(name), printed.get(name)];
        const chain = {
          handles,
          packets: counts.map((count) => count?.packets ?? -1),
          bytes: counts.map((count) => count?.bytes ?? -1),
        };
        return handles.length === 0 ? [] : [[name, chain]];
      }),
    );
  };
  const hit = (rule: RegExp, packets: number): void => {
    let chain = '';
    for (const line of kernel.text().split('\n')) {
      chain = /^\tchain (\S+) \{$/.exec(line)?.[1] ?? chain;
      if (!chain.startsWith('PCL-I-') || !rule.test(line)) continue;
      hits.set(`${chain} ${line}`, (hits.get(`${chain} ${line}`) ?? 0) + packets);
      return;
    }
    assert.fail(`no rule is like ${rule}`);
  };
  // What goes has counted for the last time.
  const seen = kernel.onCommit;
  kernel.onCommit = () => {
    seen?.();
    const there = kernel.text();
    for (const key of hits.keys()) if (!there.includes(`\tchain ${key.split(' ')[0]} {`)) hits.delete(key);
  };
  return { kernel, text, dump, hit };
}
