/**
 * The agent's metrics, and the only file that knows the library behind them. Callers feed plain functions of
 * `AgentMetrics`; label values are closed unions wherever the set of values is known.
 */
import {
  type Backend,
  BACKENDS,
  type Family,
  type Mode,
  MODES,
  OBJECT_KINDS,
  type ObjectKind,
} from '../core/vocabulary.ts';
import { compareText } from '../core/compare.ts';
import { EVENT_TYPES, type EventType, RESTART_REASONS, type RestartReason } from '../cluster/observe.ts';
import { type Drift, SYNC_PHASES } from '../dataplane/dataplane.ts';
import { DATAPLANES, type DataplaneName } from '../dataplane/dataplane-chooser.ts';
import { MONITOR_LOSSES, type MonitorLoss } from '../dataplane/listener.ts';
import { type Enforcer, ENFORCERS } from '../host/host-findings.ts';
import { POLICY_STATES, type PolicyState } from './policy-state.ts';
import { type DenialMetrics, denialMetrics } from './denial-metrics.ts';
import { HeldValues } from './held-values.ts';
import { type RuleCounterMetrics, ruleCounterMetrics } from './rule-counters.ts';

import { Counter, collectDefaultMetrics, exponentialBuckets, Gauge, Histogram, Registry } from 'prom-client';

/** `compile`: the intent; the others as the data plane has them. */
const PHASES = ['compile', ...SYNC_PHASES] as const;
type Phase = (typeof PHASES)[number];

/** `later`: all went in, a set still in use waits; `partial`: something was refused, the rest went in; `locked`: nothing went in for a lock. */
const SYNC_RESULTS = ['done', 'later', 'partial', 'locked', 'failed'] as const;
type SyncResult = (typeof SYNC_RESULTS)[number];

const DRIFT_KINDS = ['chain', 'jump', 'set', 'member'] as const satisfies readonly Drift['kind'][];

/** Whose hand it was, as far as the kernel tells: nft alone names the program. */
const DRIFT_AUTHORS = ['iptables', 'nft', 'other', 'unknown'] as const;
export type DriftAuthor = (typeof DRIFT_AUTHORS)[number];

/** `refused`: the other one could not be used, and the one in use stayed. */
const DATAPLANE_MOVE_RESULTS = ['done', 'refused'] as const;
type DataplaneMoveResult = (typeof DATAPLANE_MOVE_RESULTS)[number];

const OBJECT_EVENT_RESULTS = ['created', 'repeated', 'failed'] as const;
type ObjectEventResult = (typeof OBJECT_EVENT_RESULTS)[number];

/** What the node's rules amount to after a sync. */
interface RulesetSize {
  /** Over both address families. */
  readonly rules: number;
  readonly chains: number;
  readonly sets: number;
  readonly setEntries: number;
  readonly isolatedPods: { readonly ingress: number; readonly egress: number };
  /** Policies that select a pod of this node, and all others. */
  readonly policies: { readonly active: number; readonly inactive: number };
  /** Policies that select a pod of this node and are only audited, by namespace. */
  readonly auditedPolicies: ReadonlyMap<string, number>;
  readonly policyProblems: number;
  /** Epoch of the rules in force; 0 where the connection mark is not used, or every packet is judged. */
  readonly epoch: number;
  /** Planned steps that the last sync did not carry out. */
  readonly pendingSteps: number;
  /** Namespaces whose policies are still being compiled. */
  readonly waitingNamespaces: number;
}

export interface MetricsPage {
  readonly contentType: string;
  readonly body: string;
}

/** Durations are in seconds; moments are milliseconds since the epoch and exported in seconds. */
export interface AgentMetrics extends RuleCounterMetrics, DenialMetrics {
  build(version: string): void;
  /** The mode in force; the series of every other mode goes to 0. */
  mode(mode: Mode): void;
  /** What is written to, and what --dataplane says. */
  backend(backend: Backend | 'nftables', asked: DataplaneName | 'auto'): void;
  /** `auto` went over to a data plane, or should have. */
  dataplaneMove(to: DataplaneName, result: DataplaneMoveResult): void;
  /** All of them; one that is not named any more goes. */
  readyConditions(conditions: readonly { readonly name: string; readonly ok: boolean }[]): void;

  phase(phase: Phase, seconds: number): void;
  /** `endedAtMs` is kept as the last success when the result is `done` or `later`. */
  sync(result: SyncResult, endedAtMs: number): void;
  /** From the arrival of an event to the end of the commit that took it in. */
  programmed(seconds: number): void;
  /** A change, from its arrival and from the API's own time stamp to the end of the commit that took it in. */
  committed(kind: ObjectKind, sinceArrival: number, sinceWrite: number | undefined): void;
  /** When a change that concerns this node arrived last. */
  lastQueued(atMs: number): void;
  /** From the moment a new pod's address was known to the end of the commit of its rules. */
  podProgrammed(seconds: number): void;
  podsWaiting(count: number): void;
  rulesetSize(size: RulesetSize): void;
  freeEpochs(family: Family, count: number): void;
  /** The newest that was whole in the kernel (SyncOutcome). */
  revision(number: number): void;
  /** The newest up to which all is in the kernel. */
  resourceVersion(kind: ObjectKind, version: number): void;
  policyStates(counts: Readonly<Record<PolicyState, number>>): void;

  /** `tool` is the program's name, e.g. `ipset` or `ip6tables-nft-restore`. */
  kernelWrite(tool: string): void;
  /** The tools that write from now on: their counts begin at 0. */
  tools(names: readonly string[]): void;
  restoreFailure(tool: string): void;
  xtablesLockWait(seconds: number): void;
  driftRepaired(kind: Drift['kind'], by: DriftAuthor, count?: number): void;
  monitorLost(loss: MonitorLoss): void;
  /** Those that are there; all others go to 0. */
  otherEnforcers(found: readonly Enforcer[]): void;

  watchEvent(kind: ObjectKind, type: EventType): void;
  watchRestart(kind: ObjectKind, reason: RestartReason): void;
  watchMissedEvents(kind: ObjectKind, count: number): void;
  watchLastHeard(kind: ObjectKind, atMs: number): void;
  watchStaleness(kind: ObjectKind, seconds: number): void;
  listDuration(kind: ObjectKind, seconds: number): void;
  objects(kind: ObjectKind, count: number): void;

  /** On an object of the API: created, told again, or neither. */
  objectEvent(result: ObjectEventResult): void;

  /** Of the agent's log, since the start. */
  logLinesDropped(total: number): void;

  /** Runs before each scrape, to set what is cheaper to ask for than to follow. Must not reject, nor take long. */
  beforeScrape(listener: () => void | Promise<void>): void;
  scrape(): Promise<MetricsPage>;
}

interface MetricsOptions {
  /** Also export process and Node.js metrics (nodejs_*, process_*); they need timers, so tests leave them out. */
  readonly processMetrics: boolean;
}

/** 1 ms doubling up to 16 s. */
const SECONDS_BUCKETS = exponentialBuckets(0.001, 2, 15);
/** 1 ms to 60 s, so that a quantile is right to a quarter or so. */
const FINE_BUCKETS = [1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100, 150, 200, 300, 500, 700]
  .map((milliseconds) => milliseconds / 1000)
  .concat(1, 1.5, 2, 3, 5, 7, 10, 15, 20, 30, 60);
/** The library's 10 ms would cost 100 wake-ups a second for nothing. */
const EVENT_LOOP_PRECISION_MS = 100;

export function createAgentMetrics(registry: Registry, options: MetricsOptions): AgentMetrics {
  if (options.processMetrics) {
    collectDefaultMetrics({ register: registry, eventLoopMonitoringPrecision: EVENT_LOOP_PRECISION_MS });
  }
  const listeners: (() => void | Promise<void>)[] = [];
  const held = new HeldValues();
  return {
    ...identityMetrics(registry),
    ...syncMetrics(registry, held),
    ...rulesetMetrics(registry, held),
    ...kernelMetrics(registry, held),
    ...watchMetrics(registry, held),
    ...ruleCounterMetrics(registry),
    ...denialMetrics(registry),
    ...objectEventMetrics(registry),
    beforeScrape: (listener) => void listeners.push(listener),
    async scrape() {
      await Promise.all(listeners.map(async (listener) => await listener()));
      held.flush();
      return { contentType: registry.contentType, body: await registry.metrics() };
    },
  };
}

/** An own registry, so that nothing is shared between two agents in one process. */
export function createRegistry(): Registry {
  return new Registry();
}

function identityMetrics(
  registry: Registry,
): Pick<AgentMetrics, 'build' | 'mode' | 'backend' | 'dataplaneMove' | 'readyConditions' | 'logLinesDropped'> {
  const build = gauge(registry, 'build_info', 'Always 1; the labels tell which build runs', [
    'version',
    'node_version',
  ]);
  const mode = gauge(registry, 'mode_info', '1 for the mode in force, 0 for the others', ['mode']);
  const backend = gauge(
    registry,
    'backend_info',
    '1 for what rules are written to, an iptables variant or nftables, 0 for the others; dataplane: what --dataplane says',
    ['backend', 'dataplane'],
  );
  const moves = counter(
    registry,
    'dataplane_moves_total',
    'Moves of --dataplane=auto from one data plane to the other; refused: the other one could not be used, and the one in use stayed',
    ['to', 'result'],
  );
  for (const to of DATAPLANES) for (const result of DATAPLANE_MOVE_RESULTS) moves.inc({ to, result }, 0);
  const ready = gauge(registry, 'ready_condition', '1 for each condition of /readyz that holds, 0 for the others', [
    'condition',
  ]);
  const dropped = counter(
    registry,
    'log_lines_dropped_total',
    'Log lines lost because nobody read standard output',
    [],
  );
  let droppedBefore = 0;
  return {
    logLinesDropped: (total) => {
      dropped.inc(total - droppedBefore);
      droppedBefore = total;
    },
    build: (version) => build.set({ version, node_version: process.version }, 1),
    mode: (inForce) => {
      for (const one of MODES) mode.set({ mode: one }, one === inForce ? 1 : 0);
    },
    backend: (inUse, asked) => {
      for (const one of [...BACKENDS, 'nftables'])
        backend.set({ backend: one, dataplane: asked }, one === inUse ? 1 : 0);
    },
    dataplaneMove: (to, result) => moves.inc({ to, result }),
    readyConditions: (conditions) => {
      ready.reset();
      for (const { name, ok } of conditions) ready.set({ condition: name }, ok ? 1 : 0);
    },
  };
}

function syncMetrics(
  registry: Registry,
  held: HeldValues,
): Pick<AgentMetrics, 'phase' | 'sync' | 'programmed' | 'committed' | 'lastQueued' | 'podProgrammed' | 'podsWaiting'> {
  const duration = histogram(registry, 'sync_duration_seconds', 'Time one sync spent in a phase', ['phase']);
  const syncs = counter(registry, 'passes_total', 'Syncs by result: done, later, partial, locked, failed', ['result']);
  const lastSuccess = held.gauge(
    gauge(
      registry,
      'last_pass_success_timestamp_seconds',
      'End of the last sync that left the kernel as it should be',
      [],
    ),
  );
  const programming = histogram(
    registry,
    'programming_duration_seconds',
    'From the arrival of an event to the commit that took it into the kernel',
    [],
  );
  const committed = histogram(
    registry,
    'change_commit_duration_seconds',
    'From the arrival of a change that concerns this node to the end of the commit that took it into the kernel',
    ['kind'],
    FINE_BUCKETS,
  );
  const age = histogram(
    registry,
    'change_age_at_commit_seconds',
    "From the API's own time stamp of a change, which counts whole seconds, to the end of the commit that took it into the kernel",
    ['kind'],
    FINE_BUCKETS,
  );
  const queued = gauge(
    registry,
    'last_change_queued_timestamp_seconds',
    'When a change that concerns this node arrived last; 0 before the first after the list',
    [],
  );
  const newPods = histogram(
    registry,
    'new_pod_programming_duration_seconds',
    "From the moment a new pod's address was known to the commit of its rules",
    [],
  );
  const waiting = gauge(
    registry,
    'new_pods_waiting',
    'Pods of this node whose address is not known or not programmed yet',
    [],
  );
  const byPhase = children(PHASES, (phase) => held.histogram(duration.labels({ phase })));
  const committedOf = children(OBJECT_KINDS, (kind) => held.histogram(born(committed, kind)));
  const ageOf = children(OBJECT_KINDS, (kind) => held.histogram(born(age, kind)));
  const programmed = held.histogram(programming);
  // Series that exist from the start let a rate see the first failure.
  const byResult = children(SYNC_RESULTS, (result) => held.counter(syncs.labels({ result })));
  return {
    phase: (phase, seconds) => byPhase[phase].observe(seconds),
    sync: (result, endedAtMs) => {
      byResult[result].inc();
      if (result === 'done' || result === 'later') lastSuccess.set(endedAtMs / 1000);
    },
    programmed: (seconds) => programmed.observe(seconds),
    committed: (kind, sinceArrival, sinceWrite) => {
      committedOf[kind].observe(sinceArrival);
      // A clock that is behind the API server's.
      if (sinceWrite !== undefined) ageOf[kind].observe(Math.max(0, sinceWrite));
    },
    lastQueued: (atMs) => queued.set(atMs / 1000),
    podProgrammed: (seconds) => newPods.observe(seconds),
    podsWaiting: (count) => waiting.set(count),
  };
}

function objectEventMetrics(registry: Registry): Pick<AgentMetrics, 'objectEvent'> {
  const written = counter(
    registry,
    'object_events_total',
    'Events on objects of the API by what became of them: created, repeated, failed',
    ['result'],
  );
  const byResult = children(OBJECT_EVENT_RESULTS, (result) => started(written.labels({ result })));
  return { objectEvent: (result) => byResult[result].inc() };
}

/** Namespaces that have a series of their own. */
const MAX_NAMESPACES = 100;

/** Those with the most; the others together, under a name that no namespace has. */
function bounded(counts: ReadonlyMap<string, number>): readonly (readonly [string, number])[] {
  const sorted = [...counts].sort(([a, one], [b, other]) => other - one || compareText(a, b));
  const rest = sorted.slice(MAX_NAMESPACES).reduce((sum, [, count]) => sum + count, 0);
  return [...sorted.slice(0, MAX_NAMESPACES), ...(rest > 0 ? [['_other', rest] as const] : [])];
}

function rulesetMetrics(
  registry: Registry,
  held: HeldValues,
): Pick<AgentMetrics, 'rulesetSize' | 'freeEpochs' | 'revision' | 'resourceVersion' | 'policyStates'> {
  const rules = gauge(registry, 'rules', 'Rules of this agent, both address families', []);
  const chains = gauge(registry, 'chains', 'Chains of this agent, both address families', []);
  const sets = gauge(registry, 'sets', 'IP sets of this agent', []);
  const entries = gauge(registry, 'set_entries', 'Entries in the IP sets of this agent', []);
  const isolated = gauge(registry, 'isolated_pods', 'Pods of this node that a policy isolates', ['direction']);
  const policies = gauge(
    registry,
    'policies',
    'Policies known: active ones select a pod of this node, inactive ones do not',
    ['state'],
  );
  const audited = gauge(
    registry,
    'audited_policies',
    'Policies that select a pod of this node and are only audited: annotated so, they or their namespace',
    ['namespace'],
  );
  const problems = gauge(registry, 'policy_problems', 'Things wrong in policies, each named in the log', []);
  const epoch = gauge(
    registry,
    'generation',
    'Epoch of the rules in force, kept in the connection mark; moves when a change revokes something. 0: every packet of live flows is judged',
    [],
  );
  const revision = held.gauge(
    gauge(
      registry,
      'revision',
      'Newest revision of what this node has to enforce that was whole in the kernel; counts up with the changes that concern the node',
      [],
    ),
  );
  const version = gauge(
    registry,
    'resource_version',
    'Newest resourceVersion up to which all objects of the kind are in the kernel, as far as they concern this node',
    ['kind'],
  );
  const states = gauge(registry, 'policy_states', 'Policies by what became of them on this node, as /status has it', [
    'state',
  ]);
  const free = gauge(
    registry,
    'free_epochs',
    'Epochs of the connection mark that no live flow carries, as far as known',
    ['family'],
  );
  const pending = gauge(registry, 'pending_steps', 'Planned steps that the last sync did not carry out', []);
  const waiting = gauge(
    registry,
    'waiting_namespaces',
    'Namespaces whose changes are still being compiled or filled in',
    [],
  );
  return {
    revision: (number) => revision.set(number),
    resourceVersion: (kind, number) => version.set({ kind }, number),
    policyStates: (counts) => {
      for (const state of POLICY_STATES) states.set({ state }, counts[state]);
    },
    freeEpochs: (family, count) => free.set({ family: `IPv${family}` }, count),
    rulesetSize: (size) => {
      rules.set(size.rules);
      chains.set(size.chains);
      sets.set(size.sets);
      entries.set(size.setEntries);
      isolated.set({ direction: 'ingress' }, size.isolatedPods.ingress);
      isolated.set({ direction: 'egress' }, size.isolatedPods.egress);
      policies.set({ state: 'active' }, size.policies.active);
      audited.reset();
      for (const [namespace, count] of bounded(size.auditedPolicies)) audited.set({ namespace }, count);
      policies.set({ state: 'inactive' }, size.policies.inactive);
      problems.set(size.policyProblems);
      epoch.set(size.epoch);
      pending.set(size.pendingSteps);
      waiting.set(size.waitingNamespaces);
    },
  };
}

function kernelMetrics(
  registry: Registry,
  held: HeldValues,
): Pick<
  AgentMetrics,
  'kernelWrite' | 'tools' | 'restoreFailure' | 'xtablesLockWait' | 'driftRepaired' | 'monitorLost' | 'otherEnforcers'
> {
  const writes = counter(registry, 'kernel_writes_total', 'Commands that wrote to the kernel', ['tool']);
  const writesOf = new Map<string, Pick<Counter.Internal, 'inc'>>();
  const failures = counter(registry, 'restore_failures_total', 'Commands that failed to write to the kernel', ['tool']);
  const lockWait = counter(
    registry,
    'xtables_lock_wait_seconds_total',
    'Time of commands that had to wait for the xtables lock',
    [],
  );
  const drift = counter(registry, 'drift_repaired_total', "Changes by others to this agent's kernel objects, undone", [
    'kind',
    'by',
  ]);
  const byKind = children(DRIFT_KINDS, (kind) => children(DRIFT_AUTHORS, (by) => started(drift.labels({ kind, by }))));
  const losses = counter(
    registry,
    'monitor_losses_total',
    'Times that what others write to nf_tables could not be followed for a moment',
    ['reason'],
  );
  const enforcers = gauge(
    registry,
    'other_enforcers',
    'Other engines found on this node that enforce network policies: 1 for each that is there, 0 for the others',
    ['name'],
  );
  const byReason = children(MONITOR_LOSSES, (reason) => started(losses.labels({ reason })));
  return {
    kernelWrite: (tool) => {
      let written = writesOf.get(tool);
      if (!written) {
        written = held.counter(writes.labels({ tool }));
        writesOf.set(tool, written);
      }
      written.inc();
    },
    tools: (names) => {
      for (const tool of names) {
        writes.inc({ tool }, 0);
        failures.inc({ tool }, 0);
      }
    },
    restoreFailure: (tool) => failures.inc({ tool }),
    xtablesLockWait: (seconds) => lockWait.inc(seconds),
    driftRepaired: (kind, by, count = 1) => byKind[kind][by].inc(count),
    monitorLost: (loss) => byReason[loss].inc(),
    otherEnforcers: (found) => {
      for (const name of ENFORCERS) enforcers.set({ name }, found.includes(name) ? 1 : 0);
    },
  };
}

function watchMetrics(
  registry: Registry,
  held: HeldValues,
): Pick<
  AgentMetrics,
  'watchEvent' | 'watchRestart' | 'watchMissedEvents' | 'watchLastHeard' | 'watchStaleness' | 'listDuration' | 'objects'
> {
  const events = counter(registry, 'watch_events_total', 'Watch events received', ['kind', 'type']);
  const restarts = counter(registry, 'watch_restarts_total', 'Watches that ended and were opened again', [
    'kind',
    'reason',
  ]);
  const missed = counter(registry, 'watch_missed_events_total', 'Changes that the watch missed and a new list showed', [
    'kind',
  ]);
  const heard = gauge(registry, 'watch_last_heard_timestamp_seconds', 'When the watch was last heard of', ['kind']);
  const staleness = gauge(registry, 'watch_staleness_seconds', 'How long no watch is open; 0 while one is', ['kind']);
  const list = histogram(registry, 'list_duration_seconds', 'Time to list all objects of a kind', ['kind']);
  const objects = gauge(
    registry,
    'objects',
    'Objects known, by kind; of pods those that policies can apply to or name as peers',
    ['kind'],
  );
  const eventOf = children(OBJECT_KINDS, (kind) =>
    children(EVENT_TYPES, (type) => held.counter(events.labels({ kind, type }))),
  );
  for (const kind of OBJECT_KINDS) for (const reason of RESTART_REASONS) restarts.inc({ kind, reason }, 0);
  const missedOf = children(OBJECT_KINDS, (kind) => started(missed.labels({ kind })));
  const listOf = children(OBJECT_KINDS, (kind) => list.labels({ kind }));
  return {
    watchEvent: (kind, type) => eventOf[kind][type].inc(),
    watchRestart: (kind, reason) => restarts.inc({ kind, reason }),
    watchMissedEvents: (kind, count) => missedOf[kind].inc(count),
    watchLastHeard: (kind, atMs) => heard.set({ kind }, atMs / 1000),
    watchStaleness: (kind, seconds) => staleness.set({ kind }, seconds),
    listDuration: (kind, seconds) => listOf[kind].observe(seconds),
    objects: (kind, count) => objects.set({ kind }, count),
  };
}

function counter<L extends string>(registry: Registry, name: string, help: string, labelNames: L[]): Counter<L> {
  return new Counter({ name: `portcullis_${name}`, help, labelNames, registers: [registry] });
}

function gauge<L extends string>(registry: Registry, name: string, help: string, labelNames: L[]): Gauge<L> {
  return new Gauge({ name: `portcullis_${name}`, help, labelNames, registers: [registry] });
}

function histogram<L extends string>(
  registry: Registry,
  name: string,
  help: string,
  labelNames: L[],
  buckets = SECONDS_BUCKETS,
): Histogram<L> {
  return new Histogram({
    name: `portcullis_${name}`,
    help,
    labelNames,
    buckets,
    registers: [registry],
  });
}

/** One bound child per label value: half the cost of naming the labels at every call. */
function children<K extends string, C>(keys: readonly K[], make: (key: K) => C): Readonly<Record<K, C>> {
  return Object.fromEntries(keys.map((key) => [key, make(key)])) as Record<K, C>;
}

/** The child of a histogram, with all its buckets at 0. */
function born(of: Histogram<'kind'>, kind: ObjectKind): Histogram.Internal<'kind'> {
  of.zero({ kind });
  return of.labels({ kind });
}

function started(child: Counter.Internal): Counter.Internal {
  child.inc(0);
  return child;
}
