/** The part that reads what rules have counted: from the kernel, with a file for the agent that comes after. */
import type { AgentConfig } from './config.ts';
import type { HostKernel } from '../dataplane/iptables/kernel/host-kernel.ts';
import type { CountStore } from '../dataplane/count-store.ts';
import type { RuleDumps } from '../dataplane/rule-dump.ts';
import type { CounterLog } from '../telemetry/counter-log.ts';
import type { Logger } from '../telemetry/log.ts';

import { afterUnlessExit, systemClock } from '../core/clock.ts';
import { createCountStore } from '../dataplane/count-store.ts';
import { CounterWatch } from '../dataplane/iptables/counters/counter-watch.ts';
import { listCounters } from '../dataplane/iptables/kernel/list-counters.ts';
import { inTurns } from '../dataplane/in-turns.ts';
import { runCommand } from '../host/command.ts';
import { kernelScope, readKept, writeKept } from '../host/kept-text.ts';
import { createCounterLog } from '../telemetry/counter-log.ts';

/** Undefined: nothing is counted. */
export function countRules(
  config: AgentConfig,
  kernel: HostKernel,
  dumps: RuleDumps,
  log: Logger,
): CounterWatch | undefined {
  if (!config.policyCounters) return undefined;
  const { policyCountersFile: file } = config;
  const words = createCounterLog(log, file);
  const store = storeOf(file, words);
  return new CounterWatch({
    target: () => ({ variant: kernel.backend, families: kernel.families }),
    read: (family, isUrgent) => listCounters(runCommand, kernel.backend, family, isUrgent),
    dump: (family, chains) => inTurns(dumps.read({ family: family === 4 ? 'ip' : 'ip6', table: 'mangle', chains })),
    clock: { now: () => systemClock.now(), after: afterUnlessExit },
    ...(store ? { store } : {}),
    onProblem: words.onUnread,
  });
}

/** Undefined: counts end with the agent. `scope`: of what counts. */
export function storeOf(
  file: string | null,
  { onLoad, onUnkept }: CounterLog,
  scope = kernelScope,
): CountStore | undefined {
  if (file === null) return undefined;
  const text = { read: () => readKept(file), write: (kept: string) => writeKept(file, kept) };
  return createCountStore({ text, scope, onLoad, onProblem: onUnkept });
}
