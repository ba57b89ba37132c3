/** The data plane of iptables and ipset behind its door: chains, sets and plans stay here. */
import type { Family } from '../../core/vocabulary.ts';
import type { Denial } from '../denial.ts';
import type { DataplaneSize, Dataplane, PlannedChange, SyncOutcome } from '../dataplane.ts';
import type { CounterWatch } from './counters/counter-watch.ts';
import type { Standing } from './drift/drift-watch.ts';
import type { FreeEpochs } from '../free-epochs.ts';
import type { TidyTimer } from '../tidy-timer.ts';
import type { SyncOptions, SyncResult } from './sync/one-sync.ts';
import type { Kernel } from './kernel/kernel.ts';
import type { ObservedFamily, ObservedState, Plan } from './plan/plan.ts';

import { TIDYING } from '../dataplane.ts';
import { isAlone, partOf } from '../chain-names.ts';
import { readAudited, readJudged } from './counters/counted-rules.ts';
import { readPrefix } from '../log-prefix.ts';
import { isEmptyPlan, planText } from './plan/plan.ts';
import { lacksOf } from './rules/features.ts';
import { countedKernel } from './sync/counted-kernel.ts';
import { Synchronizer } from './sync/synchronizer.ts';
import { type TraceReads, traceFlows } from './trace/trace-flows.ts';

export interface IptablesDataplane extends Dataplane {
  /** What the kernel should hold between two syncs, for those who look whether it does. */
  standing(): Standing | undefined;
  /** What our rules say of a packet that they logged with this prefix; undefined: it was not ours. */
  denial(prefix: string, family: Family): Denial | undefined;
}

export interface IptablesOptions extends SyncOptions {
  /** Absent: the next number is taken, whoever carries it. */
  readonly freeEpochs?: FreeEpochs;
  /** Absent: nothing is counted. */
  readonly counters?: CounterWatch;
  /** Absent: every commit deletes what it replaces. */
  readonly tidy?: TidyTimer;
  /** For traces; absent: the kernel is read as a whole. */
  readonly reads?: TraceReads;
}

export function createIptablesDataplane(options: IptablesOptions): IptablesDataplane {
  const { counters, reads = wholeReads(options.kernel) } = options;
  const synchronizer = new Synchronizer(
    counters ? { ...options, kernel: countedKernel(options.kernel, counters) } : options,
  );
  return {
    sync: async (intent, request) => outcomeOf(await synchronizer.sync(intent, request), intent.revision),
    remove: async (request) => outcomeOf(await synchronizer.remove(request), undefined),
    counters: async () => (await counters?.counters()) ?? [],
    trace: (flows, place) => traceFlows(reads, synchronizer.written, flows, place),
    closeToNewPods: (interfaces) => synchronizer.closeToNewPods(interfaces),
    prepare: (mode) => synchronizer.prepare(mode),
    onWork: (callback) => {
      options.freeEpochs?.onFound(() => callback('free epoch'));
      options.tidy?.onDue(() => callback(TIDYING));
      synchronizer.onEpochDue(() => callback('epoch due'));
    },
    standing: () => synchronizer.standing(),
    denial: (prefix, family) => denialOf(prefix, family, synchronizer.standing()),
  };
}

function wholeReads(kernel: Kernel): TraceReads {
  return {
    rules: async (family) => (await kernel.readBack()).families[family] ?? NO_RULES,
    sets: async () => new Map((await kernel.readBack()).sets),
  };
}

const NO_RULES: ObservedFamily = { chains: new Map(), hooks: { FORWARD: [], INPUT: [] } };

function denialOf(prefix: string, family: Family, standing: Standing | undefined): Denial | undefined {
  const read = readPrefix(prefix);
  if (!read) return undefined;
  const { chain, ...denial } = read;
  const lines = standing?.written.families[family]?.chains.get(chain);
  return lines ? { ...denial, ...deniersOf(chain, lines) } : denial;
}

type Deniers = Pick<Denial, 'policies' | 'alone'>;

/** By the rules of a chain, which are never changed: what denies a packet denies the next one, and its legend is read once. */
const known = new WeakMap<readonly string[], { readonly chain: string; readonly deniers: Deniers }>();

function deniersOf(chain: string, lines: readonly string[]): Deniers {
  const before = known.get(lines);
  if (before?.chain === chain) return before.deniers;
  const read = readDeniers(chain, lines);
  known.set(lines, { chain, deniers: read });
  return read;
}

function readDeniers(chain: string, lines: readonly string[]): Deniers {
  if (isAlone(partOf(chain))) {
    const [alone] = readAudited(lines);
    return alone ? { alone, policies: [alone] } : {};
  }
  const judged = readJudged(lines);
  return judged?.of.kind === 'policies' ? { policies: judged.of.policies } : {};
}

function outcomeOf({ plan, missing, held, ...told }: SyncResult, asked: number | undefined): SyncOutcome {
  const isAll = plan?.waiting.length === 0 && plan.revokesNext.length === 0;
  const isWhole = told.mode !== 'dry-run' && told.failures.length === 0 && isAll;
  const revision = isWhole ? asked : undefined;
  return {
    ...told,
    revision,
    change: plan && changeOf(plan, told.busySets),
    ...(held ? { size: () => sizeOf(held) } : {}),
    lacks: lacksOf(missing),
  };
}

function changeOf(plan: Plan, busySets: readonly string[]): PlannedChange {
  return {
    counts: plan.summary,
    isEmpty: isEmptyPlan(plan),
    onlyWaits: onlyWaits(plan, busySets),
    steps: plan.steps,
    text: () => planText(plan),
    degraded: plan.degraded,
    setsToFill: plan.waiting.length,
    epoch: plan.epochs[4],
  };
}

/** All that was left to do was to destroy sets which the kernel still does not let go of. */
function onlyWaits(plan: Plan, busySets: readonly string[]): boolean {
  if (isEmptyPlan(plan)) return false;
  return plan.steps.every(({ kind, lines }) => {
    return kind === 'destroy-sets' && lines.every(({ object }) => busySets.includes(object));
  });
}

function sizeOf({ families, sets }: ObservedState): DataplaneSize {
  const size = { rules: 0, chains: 0, sets: sets.size, setEntries: 0 };
  for (const { chains } of Object.values(families)) {
    size.chains += chains.size;
    for (const lines of chains.values()) size.rules += lines.length;
  }
  for (const { members } of sets.values()) size.setEntries += members.size;
  return size;
}
