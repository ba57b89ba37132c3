/** The parts that read what rules have counted: from the kernel, with a file for the agent that comes after. */
import type { AgentConfig } from './config.ts';
import type { Backend, Family } from '../core/vocabulary.ts';
import type { RuleDumps } from '../dataplane/rule-dump.ts';
import type { CounterLog } from '../telemetry/counter-log.ts';
import type { Logger } from '../telemetry/log.ts';

import { messageOf } from '../core/error-text.ts';
import { afterUnlessExit, systemClock } from '../core/clock.ts';
import { CountBook } from '../dataplane/count-book.ts';
import { createCountStore } from '../dataplane/count-store.ts';
import { CounterWatch } from '../dataplane/iptables/counters/counter-watch.ts';
import { listCounters } from '../dataplane/iptables/kernel/list-counters.ts';
import { inTurns } from '../dataplane/in-turns.ts';
import { isNoTable } from '../dataplane/nftables/kernel/nft-kernel.ts';
import { NftCounters } from '../dataplane/nftables/sync/counters.ts';
import { NFT_TABLE } from '../dataplane/nftables/table/names.ts';
import { runCommand } from '../host/command.ts';
import { kernelScope, readKept, writeKept } from '../host/kept-text.ts';
import { createCounterLog } from '../telemetry/counter-log.ts';

const LIST_MS = 30_000;

/** What is counted on this node, by either data plane. */
export interface RuleCounts {
  readonly book: CountBook;
  readonly log: CounterLog;
}

/** Undefined: nothing is counted. */
export function openRuleCounts(config: AgentConfig, log: Logger): RuleCounts | undefined {
  if (!config.policyCounters) return undefined;
  const { policyCountersFile: file } = config;
  const words = createCounterLog(log, file);
  if (file === null) return { book: new CountBook(), log: words };
  const store = createCountStore({
    text: { read: () => readKept(file), write: (kept) => writeKept(file, kept) },
    scope: kernelScope,
    onLoad: words.onLoad,
    onProblem: words.onUnkept,
  });
  return { book: new CountBook({ store }), log: words };
}

/** `dumps`: absent: the tools tell. */
export function countIptables(
  { book, log }: RuleCounts,
  target: () => { readonly variant: Backend; readonly families: readonly Family[] },
  dumps?: RuleDumps,
): CounterWatch {
  return new CounterWatch({
    target,
    read: (family, isUrgent) => listCounters(runCommand, target().variant, family, isUrgent),
    ...(dumps
      ? {
          dump: (family, chains) =>
            inTurns(dumps.read({ family: family === 4 ? 'ip' : 'ip6', table: 'mangle', chains })),
        }
      : {}),
    clock: { now: () => systemClock.now(), after: afterUnlessExit },
    book,
    onProblem: log.onUnread,
  });
}

/** `dumps`: absent: nft tells. */
export function countNftables({ book, log }: RuleCounts, dumps?: RuleDumps): NftCounters {
  let told: string | undefined;
  const tell = (problem: string | undefined): void => {
    if (problem !== told) log.onUnread(problem);
    told = problem;
  };
  return new NftCounters({
    now: () => systemClock.now(),
    after: afterUnlessExit,
    read: async () => {
      const argv = ['nft', '-p', '-t', 'list', 'table', 'inet', NFT_TABLE] as const;
      const { stdout } = await runCommand({ argv: [...argv], timeoutMs: LIST_MS, background: true, isListing: true });
      tell(undefined);
      return stdout;
    },
    ...(dumps
      ? {
          dump: async (chains: readonly string[]) => {
            const rules = await inTurns(dumps.read({ family: 'inet', table: NFT_TABLE, chains }));
            if (rules) tell(undefined);
            return rules;
          },
        }
      : {}),
    book,
    onProblem: (problem) => {
      if (!isNoTable(problem)) tell(messageOf(problem));
    },
  });
}
