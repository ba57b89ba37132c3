/** The data plane of nftables on this host. */
import type { JumpState } from '../dataplane/listener.ts';
import type { DataplaneParts, HostDataplane } from './node-dataplane.ts';

import { afterUnlessExit, systemClock } from '../core/clock.ts';
import { messageOf } from '../core/error-text.ts';
import { DriftReport } from '../dataplane/drift-report.ts';
import { anyEpoch } from '../dataplane/mark-bits.ts';
import type { NftKernel } from '../dataplane/nftables/kernel/kernel.ts';
import { createNftKernel } from '../dataplane/nftables/kernel/nft-kernel.ts';
import { NetlinkWriter } from '../dataplane/nftables/kernel/netlink-writer.ts';
import { NftSession } from '../dataplane/nftables/kernel/nft-session.ts';
import { traceReads } from '../dataplane/nftables/kernel/trace-reads.ts';
import { TableMonitor } from '../dataplane/nftables/kernel/table-monitor.ts';
import { createNftablesDataplane } from '../dataplane/nftables/nftables-dataplane.ts';
import { EpochKeeper } from '../dataplane/nftables/sync/epoch-keeper.ts';
import { probe, probeBridges, tryWays } from '../dataplane/nftables/sync/probe.ts';
import { NFT_TABLE } from '../dataplane/nftables/table/names.ts';
import { RuleDumps } from '../dataplane/rule-dump.ts';
import { TidyTimer } from '../dataplane/tidy-timer.ts';
import { runCommand } from '../host/command.ts';
import { openDumpSocket } from '../host/netlink-dump.ts';
import { createDriftLog, jumpsPresent } from '../telemetry/drift-log.ts';
import { countNftables } from './count-rules.ts';
import { layoutOf } from './layout.ts';

/** No hook leads there; an agent that is killed while it tries leaves it. */
export const PROBE_TABLE = `${NFT_TABLE}-probe`;
/** A change is somebody's if it was told of so shortly before its traces were found. */
const AUTHOR_MS = 5_000;
/** Somebody who goes on and on costs one comparison a second. */
const RESYNC_GAP_MS = 1_000;

export function createNftablesNode({ config, watches, counts, metrics, log }: DataplaneParts): HostDataplane {
  const now = (): number => systemClock.now();
  const session = new NftSession();
  const netlink = new NetlinkWriter();
  const others = watchOthers({ metrics, log });
  const host = createNftKernel({ table: NFT_TABLE, run: runCommand, session, netlink });
  const kernel = others.monitor.watched({
    read: (known) => host.read(known),
    write: (commands) => {
      metrics.kernelWrite('nft');
      return host.write(commands);
    },
  });
  const dumps = new RuleDumps(openDumpSocket);
  const counters = counts && countNftables(counts, dumps);
  const { freeEpochs } = watches;
  const { connmarkMask: mask } = config;
  const layout = layoutOf(config);
  const marks = mask === null ? undefined : { mask };
  const epochs =
    marks &&
    new EpochKeeper({
      marks,
      firstEpoch: anyEpoch(marks.mask, Math.random),
      now,
      after: afterUnlessExit,
      ...(freeEpochs ? { freeEpochs } : {}),
    });
  let bridgeProblem: string | undefined;
  const dataplane = createNftablesDataplane({
    kernel,
    table: NFT_TABLE,
    layout,
    now,
    reads: traceReads(runCommand, NFT_TABLE),
    ...(epochs ? { epochs } : {}),
    ...(counters ? { counters } : {}),
    ...(freeEpochs ? { onFreeEpoch: (callback: () => void) => freeEpochs.onFound(callback) } : {}),
    tidy: new TidyTimer(systemClock, () => counters?.aheadOfDeletion()),
    bridgeProblem: () => bridgeProblem,
  });
  const probed = { table: PROBE_TABLE, run: runCommand, session };
  const tryOut = async (trial: typeof probe): Promise<string | undefined> => {
    const tried = (kernel: NftKernel): ReturnType<typeof probe> =>
      trial(kernel, PROBE_TABLE, { ...layout, mode: 'enforce' });
    const ways = [createNftKernel({ ...probed, netlink }), createNftKernel(probed)] as const;
    const { problem, otherwise } = await tryWays(tried, ...ways);
    if (otherwise !== undefined) {
      netlink.giveUp();
      log
        .child('kernel')
        .warn(`all is written by nft, not by netlink messages, which nft reads otherwise: ${otherwise}`);
    }
    return problem;
  };
  return {
    dataplane,
    backend: () => 'nftables',
    conditions: [{ name: 'jumps-present', state: () => jumpsPresent(others.state()) }],
    tryOpen: async () => {
      const problem = await tryOut(probe).catch(messageOf);
      if (problem !== undefined) return `nftables cannot be used here: ${problem}`;
      bridgeProblem = await tryOut(probeBridges).catch(messageOf);
      return undefined;
    },
    bridgeProblem: () => bridgeProblem,
    follow: (resync) => {
      metrics.tools(['nft']);
      log.child('kernel').info(`writing to nftables, table inet ${NFT_TABLE}`);
      others.follow(resync);
    },
    synced: (outcome) => others.synced(outcome),
    lastReading: async () => counters?.lastReading(),
    stop: async () => {
      others.monitor.stop();
      session.stop();
      netlink.stop();
      dumps.stop();
    },
  };
}

interface Others {
  readonly monitor: TableMonitor;
  state(): JumpState;
  follow(resync: (reason: string) => void): void;
  synced(outcome: Parameters<HostDataplane['synced']>[0]): void;
}

/** What others do to our table: told at once by the kernel, and found by each comparison. */
function watchOthers({ metrics, log }: Pick<DataplaneParts, 'metrics' | 'log'>): Others {
  const listener = createDriftLog(metrics, log.child('neighbours'));
  let last: { readonly program: string; readonly atMs: number } | undefined;
  let resync: ((reason: string) => void) | undefined;
  let isEnforced = false;
  let askedMs = Number.NEGATIVE_INFINITY;
  let isAsked = false;
  const compare = (reason: string): void => {
    if (isAsked || !resync) return;
    isAsked = true;
    afterUnlessExit(Math.max(0, askedMs + RESYNC_GAP_MS - systemClock.now()), () => {
      isAsked = false;
      askedMs = systemClock.now();
      resync?.(reason);
    });
  };
  const monitor = new TableMonitor({
    table: NFT_TABLE,
    onForeign: (program) => {
      last = { program, atMs: systemClock.now() };
      listener.onForeignWrite(program);
      compare(`drift: table inet ${NFT_TABLE} written by ${program}`);
    },
    onLoss: (loss, complaint) => {
      metrics.monitorLost(loss);
      log.child('neighbours').debug('commits to nf_tables are followed anew', { loss, complaint });
    },
    onListening: () => compare('drift: others may have written unnoticed'),
    clock: systemClock,
  });
  const report = new DriftReport({
    listener,
    now: () => systemClock.now(),
    authorOf: () => (last && systemClock.now() - last.atMs < AUTHOR_MS ? last.program : undefined),
  });
  return {
    monitor,
    state: () => {
      const fight = report.fought;
      if (fight !== undefined) return { kind: 'fought', what: fight };
      return isEnforced ? { kind: 'first', isTold: monitor.isListening } : { kind: 'not-watched' };
    },
    follow: (callback) => {
      resync = callback;
      monitor.start();
    },
    synced: (outcome) => {
      isEnforced = outcome.mode === 'enforce' || outcome.mode === 'audit';
      report.synced(outcome);
    },
  };
}
