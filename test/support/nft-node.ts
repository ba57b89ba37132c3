/** A node whose rules are a table of nftables in memory. */
import { NodeCompiler } from '../../src/compile/compile-node.ts';
import type { MonotonicClock } from '../../src/core/clock.ts';
import type { EpochSource } from '../../src/dataplane/free-epochs.ts';
import { EpochKeeper } from '../../src/dataplane/nftables/sync/epoch-keeper.ts';
import {
  type NftSyncOptions,
  type NftSyncResult,
  NftSynchronizer,
} from '../../src/dataplane/nftables/sync/synchronizer.ts';
import { NO_INTERFACES, type PodInterfaces } from '../../src/host/pod-interfaces.ts';
import type { ClusterSnapshot } from '../../src/policy/model.ts';
import { feed, LAYOUT, type Walkable } from './fake-cluster.ts';
import { createFakeNft, type FakeNft } from './nft-fake.ts';
import { traceTable } from './nft-tracer.ts';

export interface NftNode extends Walkable {
  readonly kernel: FakeNft;
  readonly synchronizer: NftSynchronizer;
  /** One pass; throws if anything failed. */
  bring(snapshot: ClusterSnapshot, readBack?: boolean): Promise<{ readonly steps: number } & NftSyncResult>;
  /** The same, whatever became of it. */
  sync(snapshot: ClusterSnapshot, readBack?: boolean, mode?: 'enforce' | 'audit' | 'dry-run'): Promise<NftSyncResult>;
}

export interface NftNodeOptions {
  readonly kernel?: FakeNft;
  readonly freeEpochs?: EpochSource;
  readonly tidy?: NftSyncOptions['tidy'];
  /** Absent: no epoch waits. */
  readonly clock?: MonotonicClock;
  readonly layout?: NftSyncOptions['layout'];
  readonly interfaces?: PodInterfaces | (() => PodInterfaces);
}

/** Compiles change by change, as the agent does. */
export function createNftNode(name: string, options: NftNodeOptions = {}): NftNode {
  const { kernel = createFakeNft(), tidy, clock, freeEpochs, layout = LAYOUT, interfaces = NO_INTERFACES } = options;
  const compiler = new NodeCompiler(name);
  let known: ClusterSnapshot | undefined;
  const now = (): number => clock?.now() ?? 0;
  const { marks } = layout;
  const epochs =
    marks &&
    new EpochKeeper({
      marks,
      firstEpoch: 1,
      now,
      ...(freeEpochs ? { freeEpochs } : {}),
      ...(clock ? { after: (ms, callback) => clock.after(ms, callback) } : {}),
    });
  const synchronizer = new NftSynchronizer({
    kernel,
    table: 'portcullis',
    layout,
    now,
    ...(epochs ? { epochs } : {}),
    ...(tidy ? { tidy } : {}),
  });
  const sync: NftNode['sync'] = (snapshot, resync = false, mode = 'enforce') => {
    feed(compiler, known, snapshot);
    known = snapshot;
    const seen = typeof interfaces === 'function' ? interfaces() : interfaces;
    return synchronizer.sync(compiler.intent(), { mode, resync, interfaces: seen });
  };
  return {
    kernel,
    synchronizer,
    sync,
    bring: async (snapshot, readBack) => {
      const outcome = await sync(snapshot, readBack);
      if (outcome.failures.length > 0) throw new Error(`${name}: ${JSON.stringify(outcome.failures)}`);
      return { ...outcome, steps: outcome.change?.steps.length ?? 0 };
    },
    walk: (packet) => traceTable(kernel.table()!, packet),
  };
}
