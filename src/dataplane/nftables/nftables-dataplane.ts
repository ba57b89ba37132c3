/** The data plane of nftables behind its door: tables and transactions stay here. */
import type { Family } from '../../core/vocabulary.ts';
import type { Denial } from '../denial.ts';
import type { Dataplane, Lack, SyncOutcome } from '../dataplane.ts';
import type { TidyTimer } from '../tidy-timer.ts';
import type { PodInterfaces } from '../../host/pod-interfaces.ts';
import type { NftCounters } from './sync/counters.ts';
import type { EpochKeeper } from './sync/epoch-keeper.ts';
import type { Chain } from './table/table.ts';

import { type TraceReads, traceFlows } from './trace/trace-flows.ts';
import { TIDYING } from '../dataplane.ts';
import { isAlone, partOf } from '../chain-names.ts';
import { readPrefix } from '../log-prefix.ts';
import { bridgesOfPods } from './bridged-pods.ts';
import { type NftSyncOptions, type NftSyncResult, NftSynchronizer } from './sync/synchronizer.ts';

export interface NftablesDataplane extends Dataplane {
  /** What our rules say of a packet that they logged with this prefix; undefined: it was not ours. */
  denial(prefix: string, family: Family): Denial | undefined;
}

export interface NftablesOptions extends NftSyncOptions {
  /** What a trace reads; absent: the whole table each time. */
  readonly reads?: TraceReads;
  readonly epochs?: EpochKeeper;
  readonly tidy?: TidyTimer;
  /** Absent: nothing is counted. */
  readonly counters?: NftCounters;
  /** Called with the epoch search's findings; absent: there is none. */
  readonly onFreeEpoch?: (callback: () => void) => void;
  /** Why this kernel does not show ports of bridges; undefined: it does. */
  readonly bridgeProblem?: () => string | undefined;
}

export function createNftablesDataplane(options: NftablesOptions): NftablesDataplane {
  const { counters, tidy, epochs, onFreeEpoch, reads = wholeReads(options), bridgeProblem = () => undefined } = options;
  const seen = withoutPorts();
  const visible = (interfaces: PodInterfaces): PodInterfaces => {
    return bridgeProblem() === undefined ? interfaces : seen(interfaces);
  };
  const synchronizer = new NftSynchronizer({
    ...options,
    ...(counters
      ? { onRendered: (table) => counters.rendered(table), beforeTidying: () => counters.beforeDeletion() }
      : {}),
  });
  return {
    sync: async (intent, request) => {
      const result = await synchronizer.sync(intent, { ...request, interfaces: visible(request.interfaces) });
      const isSettled = epochs?.isSettled ?? true;
      const isWhole = result.mode !== 'dry-run' && result.failures.length === 0 && isSettled;
      const lacks = lacksOf(request.interfaces, options.layout.newPods !== undefined, bridgeProblem());
      return outcomeOf(result, isWhole ? intent.revision : undefined, lacks);
    },
    remove: async (request) => outcomeOf(await synchronizer.remove(request), undefined, []),
    counters: async () => (await counters?.counters()) ?? [],
    trace: (flows, place) => traceFlows(reads, (chain) => chainNamed(synchronizer, chain), flows, place),
    closeToNewPods: (interfaces) => synchronizer.closeToNewPods(visible(interfaces)),
    prepare: () => {},
    onWork: (callback) => {
      onFreeEpoch?.(() => callback('free epoch'));
      tidy?.onDue(() => callback(TIDYING));
      epochs?.onDue(() => callback('epoch due'));
    },
    denial: (prefix) => {
      const read = readPrefix(prefix);
      if (!read) return undefined;
      const { chain, ...denial } = read;
      const judging = chainNamed(synchronizer, chain);
      if (!judging?.policies) return denial;
      const [alone] = isAlone(partOf(chain)) ? judging.policies : [];
      return { ...denial, policies: judging.policies, ...(alone ? { alone } : {}) };
    },
  };
}

/** As it was written, or waits to be deleted. */
function chainNamed({ held }: NftSynchronizer, name: string): Chain | undefined {
  return held?.rendered.chains.get(name) ?? held?.left.chains.get(name);
}

function wholeReads({ kernel }: NftSyncOptions): TraceReads {
  return {
    table: () => kernel.read(),
    elements: async (sets) => new Map(sets.map((set) => [set.name, set])),
  };
}

/** The same object as long as the interfaces are the same. */
function withoutPorts(): (interfaces: PodInterfaces) => PodInterfaces {
  let last: { readonly all: PodInterfaces; readonly seen: PodInterfaces } | undefined;
  return (all) => {
    if (last?.all !== all)
      last = { all, seen: { ...all, pods: all.pods.filter(({ via }) => via !== 'bridge'), bridges: [] } };
    return last.seen;
  };
}

function lacksOf(interfaces: PodInterfaces, isClosed: boolean, problem: string | undefined): readonly Lack[] {
  const names = problem === undefined ? [] : bridgesOfPods(interfaces, isClosed);
  if (names.length === 0) return [];
  const text =
    `sight of a bridge's ports (${problem}): what pods at ${names.join(', ')} send from, or get at, addresses that are not ` +
    'theirs is not judged';
  return [{ text, neededFor: 'policies', remedy: 'use --dataplane=iptables, or auto, on this node' }];
}

function outcomeOf(result: NftSyncResult, revision: number | undefined, lacks: readonly Lack[]): SyncOutcome {
  return { ...result, revision, busySets: [], busyChains: [], lacks, unread: [] };
}
