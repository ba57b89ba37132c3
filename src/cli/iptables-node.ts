/** The data plane of iptables and ipset on this host. */
import type { DataplaneParts, HostDataplane } from './node-dataplane.ts';

import { afterUnlessExit, systemClock } from '../core/clock.ts';
import { NeighbourWatch } from '../dataplane/iptables/drift/neighbour-watch.ts';
import { createIptablesDataplane } from '../dataplane/iptables/iptables-dataplane.ts';
import { destroysSets, WRITE_SETS, writesRules } from '../dataplane/iptables/kernel/linux-kernel.ts';
import { traceReads } from '../dataplane/iptables/kernel/trace-reads.ts';
import { stampedEpochs } from '../dataplane/iptables/sync/stamped-epochs.ts';
import { anyEpoch } from '../dataplane/mark-bits.ts';
import { RuleDumps } from '../dataplane/rule-dump.ts';
import { TidyTimer } from '../dataplane/tidy-timer.ts';
import { runCommand } from '../host/command.ts';
import { openCommitSessions } from '../host/commit-session.ts';
import { openDumpSocket } from '../host/netlink-dump.ts';
import { openRestoreSession } from '../host/restore-session.ts';
import { createDriftLog, jumpsPresent } from '../telemetry/drift-log.ts';
import { countIptables } from './count-rules.ts';
import { layoutOf } from './layout.ts';
import { createKernel, openKernel } from './open-kernel.ts';

export function createIptablesNode({ config, watches, counts, metrics, log }: DataplaneParts): HostDataplane {
  const kernelLog = log.child('kernel');
  const sets = openRestoreSession(WRITE_SETS);
  const writes = openCommitSessions({ stays: writesRules, needsDeleted: destroysSets, run: sets.run });
  const { kernel, missingFeatures } = createKernel({ config, run: writes.run, metrics, log: kernelLog });
  const neighbours = new NeighbourWatch(kernel, createDriftLog(metrics, log.child('neighbours')), systemClock);
  const dumps = new RuleDumps(openDumpSocket);
  const counters =
    counts && countIptables(counts, () => ({ variant: kernel.backend, families: kernel.families }), dumps);
  const { freeEpochs } = watches;
  const { connmarkMask: mask } = config;
  const dataplane = createIptablesDataplane({
    kernel: neighbours.kernel,
    layout: layoutOf(config),
    now: () => systemClock.now(),
    after: afterUnlessExit,
    firstEpoch: mask === null ? 1 : anyEpoch(mask, Math.random),
    ...(freeEpochs ? { freeEpochs } : {}),
    ...(counters ? { counters } : {}),
    reads: traceReads(runCommand, () => kernel.backend),
    tidy: new TidyTimer(systemClock, () => counters?.aheadOfDeletion()),
    missingFeatures,
  });
  return {
    dataplane,
    backend: () => kernel.backend,
    conditions: [
      { name: 'jumps-present', state: () => jumpsPresent(neighbours.jumps()) },
      { name: 'iptables-variant', state: () => ({ ok: true, reason: kernel.doubt ?? `writing to ${kernel.backend}` }) },
    ],
    tryOpen: async () => {
      const opened = await openKernel(kernel);
      if ('problem' in opened) return opened.problem;
      if (config.mode !== 'dry-run' && mask !== null) freeEpochs?.lookAhead(stampedEpochs(opened.stamping, { mask }));
      return undefined;
    },
    follow: (resync) => neighbours.follow({ standing: () => dataplane.standing(), resync }),
    synced: (outcome, { resync }) => neighbours.synced(outcome, resync),
    lastReading: async () => counters?.lastReading(),
    stop: async () => {
      neighbours.stop();
      writes.stop();
      sets.stop();
      await counters?.stop();
      dumps.stop();
    },
  };
}
